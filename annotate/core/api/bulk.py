"""Read requests that take one object or a list: errors in a list name the index, `3.text`; in an object, the field."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rest_framework import serializers

from annotate.core.errors import Refused

LONGEST_LIST = 10_000


def read_one_or_many(form: type[serializers.Serializer], data: Any) -> tuple[list[dict[str, Any]], bool]:
    """Return the checked rows, and whether a list was sent. Raises for the first kind of thing that is wrong."""
    if not isinstance(data, list):
        form_data = form(data=data)
        form_data.is_valid(raise_exception=True)
        return [form_data.validated_data], False
    if not 1 <= len(data) <= LONGEST_LIST:
        raise Refused(
            400, body=f"A list holds 1 to {LONGEST_LIST:,} rows, not {len(data):,}; send it in several parts."
        )
    form_data = form(data=data, many=True)
    if not form_data.is_valid():
        errors = form_data.errors
        wrong = errors if isinstance(errors, dict) else dict(enumerate(errors))
        raise serializers.ValidationError({str(index): errors for index, errors in wrong.items() if errors})
    return form_data.validated_data, True


@contextmanager
def written(is_list: bool) -> Iterator[None]:
    """Name errors by what was sent: an action always names the row, `0.text`; whoever sent one object reads `text`."""
    try:
        yield
    except Refused as refused:
        if is_list:
            raise
        raise Refused(
            refused.status, **{name.removeprefix("0."): text for name, text in refused.errors.items()}
        ) from refused
