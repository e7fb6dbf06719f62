"""What all of the API shares: who asks, looking things up, fields, lists, idempotency, errors as JSON."""
