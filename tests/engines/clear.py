"""Empties the tables and the queue of the tested project, in its console."""

from __future__ import annotations

from django.apps import apps
from django.core.management.color import no_style
from django.db import connection

from django_iletimerkezi.conf import conf
from django_iletimerkezi.mirror.retry import persistently
from django_iletimerkezi.models import Change, Fetch, Group


def clear() -> None:
    tables = [model._meta.db_table for model in (Change, Fetch, Group)]
    persistently(lambda using: _flush(*tables))
    clear_queue()


def clear_queue() -> None:
    if apps.is_installed("django_tasks_db"):
        models = apps.get_app_config("django_tasks_database").get_models()
        _flush(*(model._meta.db_table for model in models))
    if apps.is_installed("django_rq"):
        import django_rq  # noqa: PLC0415 - only this project has it

        django_rq.get_connection().flushdb()
    if conf.enqueue:
        from celery import current_app  # noqa: PLC0415 - only this project has it

        current_app.control.purge()


def _flush(*tables: str) -> None:
    """Empty tables with TRUNCATE, which waits until the transactions of killed workers end."""
    connection.ops.execute_sql_flush(connection.ops.sql_flush(no_style(), list(tables)))
