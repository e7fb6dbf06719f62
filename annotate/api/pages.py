"""Long lists come in pages, whose links stay right while rows are added."""

from __future__ import annotations

from rest_framework.pagination import CursorPagination


class Newest(CursorPagination):
    """Newest first."""

    ordering = "-id"
    page_size = 100
    page_size_query_param = "page_size"
    max_page_size = 1000


class Oldest(Newest):
    """In the order in which they came."""

    ordering = "id"
