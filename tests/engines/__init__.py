"""Fetches on real task queues, run by ``make test-engines``. Needs running queues and databases.

The tests follow the recipes of docs/en/how-to/background.md. The vendor, the project and each
worker have processes of their own.
"""
