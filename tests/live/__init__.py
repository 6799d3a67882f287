"""Checks the vendor against its documentation: ``make test-live``, never in a normal test run."""
