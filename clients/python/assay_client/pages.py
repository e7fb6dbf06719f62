"""Read long lists page by page."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar
from urllib.parse import parse_qs, urlsplit

from assay_client.decoding import decode

Row = TypeVar("Row")


class Pages(Generic[Row]):
    """All rows of a list: iterate over it. A page is fetched when its first row is wanted.

    The server tells where a page ends by the row itself, not by counting: rows that are added meanwhile neither
    repeat nor hide others. Each iteration begins anew.
    """

    def __init__(self, fetch: Callable[[dict[str, Any]], Any], row: type[Row], query: dict[str, Any]) -> None:
        self._fetch, self._row, self._query = fetch, row, query

    def __iter__(self) -> Iterator[Row]:
        query: dict[str, Any] | None = self._query
        while query is not None:
            page = self._fetch(query)
            for index, row in enumerate(page["results"]):
                yield decode(self._row, row, f"results.{index}")
            query = _query_of(page.get("next"))


def _query_of(address: str | None) -> dict[str, Any] | None:
    """Return what to ask for the next page: empty values are filters, too, and a name may have several.

    Its host is not asked: the token goes only where the client was told to.
    """
    return parse_qs(urlsplit(address).query, keep_blank_values=True) if address else None
