"""Share among all of the API: authentication, look-ups, fields, lists, idempotency, errors as JSON."""
