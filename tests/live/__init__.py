"""Whether the vendor is as its documentation says: ``make test-live``, never in a normal run."""
