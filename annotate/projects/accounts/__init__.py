"""Accounts: signing in and up, second factors, API tokens."""
