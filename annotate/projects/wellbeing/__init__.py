"""Limit what a person reads of harm: consent, kinds opted out of, a cap a day, breaks."""
