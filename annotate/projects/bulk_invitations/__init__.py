"""Invite many people at once: a list is read and checked, mails go out in the background, batches are followed."""
