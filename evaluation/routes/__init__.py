"""Addresses by subject: the pages, and below /api/v1/ their twins for programs."""
