"""The same groups as other packages store a tree."""

from __future__ import annotations

from django.db import models
from mptt.models import MPTTModel, TreeForeignKey
from tree_queries.models import TreeNode
from treebeard.mp_tree import MP_Node


class Contacts(models.Model):
    name = models.TextField()
    count = models.PositiveBigIntegerField()
    seen_at = models.DateTimeField()

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return self.name


class Treebeard(MP_Node, Contacts):
    class Meta:
        pass


class Mptt(MPTTModel, Contacts):
    parent = TreeForeignKey("self", models.CASCADE, null=True, blank=True, related_name="children")

    class Meta:
        pass


class TreeQueries(TreeNode, Contacts):
    class Meta:
        pass


class Plain(Contacts):
    parent = models.ForeignKey("self", models.CASCADE, null=True, blank=True)
