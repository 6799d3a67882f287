"""Errors as the drivers of databases raise them."""

from __future__ import annotations

from django.db import OperationalError


class SerializationFailure(Exception):
    sqlstate = "40001"


def conflict() -> OperationalError:
    error = OperationalError("could not serialize access")
    error.__cause__ = SerializationFailure()
    return error


def deadlock() -> OperationalError:
    error = OperationalError(1213, "Deadlock found")
    error.__cause__ = Exception(1213, "Deadlock found")
    return error
