"""Look for rows by a long list of keys: one value of a statement, whatever its length.

`id__in=[…]` makes a value of each key, and SQLite takes only so many in one statement.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from django.db import connection
from django.db.models.expressions import RawSQL

_BOUND = 2**63  # of a key; what is beyond is no row's


def among(keys: Iterable[int]) -> RawSQL:
    """Return the keys as what `pk__in=` looks among."""
    listed = [key for key in keys if -_BOUND <= key < _BOUND]
    if connection.vendor == "postgresql":
        return RawSQL("SELECT unnest(%s::bigint[])", [listed])
    return RawSQL("SELECT value FROM json_each(%s)", [json.dumps(listed)])
