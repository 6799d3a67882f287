"""Popular packages, used with our model."""

from __future__ import annotations

import pytest
from model_bakery import baker
from rest_framework.serializers import ModelSerializer  # type: ignore[import-untyped]  # has no types

from django_iletimerkezi.ids import MAX_ID
from django_iletimerkezi.models import Group

pytestmark = pytest.mark.django_db


def test_model_bakery_creates_valid_groups() -> None:
    parent = baker.make(Group)
    children = baker.make(Group, 100, parent=parent)
    assert {child.parent for child in children} == {parent}
    assert Group.objects.count() == 101


class GroupSerializer(ModelSerializer):  # type: ignore[misc]  # not typed
    class Meta:
        model = Group
        fields = ("id", "name", "count", "parent")


@pytest.mark.parametrize("group_id", [-1, 0])
def test_a_rest_framework_serializer_rejects_invalid_ids(group_id: int) -> None:
    serializer = GroupSerializer(data={"id": group_id, "name": "İstanbul", "count": 0})
    assert not serializer.is_valid()
    assert [error.code for error in serializer.errors["id"]] == ["min_value"]


@pytest.mark.parametrize("group_id", [1, MAX_ID])
def test_a_rest_framework_serializer_stores_groups(group_id: int) -> None:
    serializer = GroupSerializer(data={"id": group_id, "name": "İstanbul", "count": 0})
    assert serializer.is_valid()
    assert serializer.save().pk == group_id
