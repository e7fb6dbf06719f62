"""Django's SQLite, with an orderly queue of those who write."""
