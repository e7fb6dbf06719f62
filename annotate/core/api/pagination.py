"""Split long lists into pages, whose links stay right while rows are added."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.db.models import QuerySet
from rest_framework.pagination import Cursor, CursorPagination
from rest_framework.request import Request

from common.whole_numbers import whole_number


class Newest(CursorPagination):
    """Return pages of rows, newest first."""

    ordering = "-id"
    page_size = 100
    page_size_query_param = "page_size"
    max_page_size = 1000


class Oldest(Newest):
    """Return pages of rows in the order in which they came."""

    ordering = "id"


class Searched(Oldest):
    """Return pages of what is found among so many rows beyond the page before, whatever their number in all: one with
    few rows, or none, leads on to the next."""

    _onward: tuple[bool, int] | None = None  # backwards?, and the id beyond which nobody has looked

    def within(self, rows: QuerySet, request: Request, most: int) -> QuerySet:
        """Return the rows that one page looks through; call it before their words are asked for."""
        cursor = self.decode_cursor(request)
        is_back, side = (True, "lt") if cursor is not None and cursor.reverse else (False, "gt")
        beyond = rows.order_by("-id" if is_back else "id")
        if cursor is not None and cursor.position is not None:
            beyond = beyond.filter(**{f"id__{side}": whole_number(cursor.position, 0)})
        last, *more = [*beyond.values_list("id", flat=True)[most - 1 : most + 1]] or [None]
        if last is None or not more:
            return rows
        self._onward = (is_back, last)
        return rows.filter(**{"id__gte" if is_back else "id__lte": last})

    def get_next_link(self) -> str | None:
        return super().get_next_link() or self._link_on(False)

    def get_previous_link(self) -> str | None:
        return super().get_previous_link() or self._link_on(True)

    def _link_on(self, is_back: bool) -> str | None:
        if self._onward is None or self._onward[0] != is_back:
            return None
        return str(self.encode_cursor(Cursor(offset=0, reverse=is_back, position=str(self._onward[1]))))


def newest_first(view: Callable) -> Callable:
    """Mark a function that answers with pages of `Newest`, for the schema."""
    of_view: Any = view
    of_view.cls.pagination_class = Newest
    return view
