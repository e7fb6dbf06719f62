"""Connections to the database while somebody waits for something else."""

from __future__ import annotations

from django.db import connection


def give_back() -> None:
    """Before a wait of seconds, such as for a model: on Postgres there are only a few connections for all requests.

    The next query takes one again. Within a transaction it does nothing.
    """
    if not connection.in_atomic_block:
        connection.close()
