"""Split long lists into pages, whose links stay right while rows are added."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rest_framework.pagination import CursorPagination


class Newest(CursorPagination):
    """Return pages of rows, newest first."""

    ordering = "-id"
    page_size = 100
    page_size_query_param = "page_size"
    max_page_size = 1000


class Oldest(Newest):
    """Return pages of rows in the order in which they came."""

    ordering = "id"


def newest_first(view: Callable) -> Callable:
    """Mark a function that answers with pages of `Newest`, for the schema."""
    of_view: Any = view
    of_view.cls.pagination_class = Newest
    return view
