"""What a person can bear to read of harm: consent, kinds opted out of, a cap a day, breaks."""
