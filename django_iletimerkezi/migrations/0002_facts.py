from typing import Any

from django.db import migrations, models
from django.db.models import F


def fill_facts(apps: Any, schema_editor: Any) -> None:
    groups = apps.get_model("django_iletimerkezi", "Group").objects
    groups = groups.using(schema_editor.connection.alias)
    groups.exclude(parent=None).update(named_parent_id=F("parent_id"))
    # Until now, only a denial made fetched_at newer than seen_at.
    groups.filter(fetched_at__gt=F("seen_at")).update(denied_at=F("fetched_at"))


class Migration(migrations.Migration):
    dependencies = [("django_iletimerkezi", "0001_initial")]

    operations = [
        migrations.AddField(
            model_name="group",
            name="named_parent_id",
            field=models.BigIntegerField(editable=False, null=True),
        ),
        migrations.AddField(
            model_name="group",
            name="denied_at",
            field=models.DateTimeField(editable=False, null=True),
        ),
        migrations.RunPython(fill_facts, migrations.RunPython.noop),
    ]
