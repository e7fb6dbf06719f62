"""Find annotations newest first, a page at a time, and among them the battles of a model or of two."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models import F, Q, QuerySet

from annotate.core.errors import Refused
from annotate.models import LanguageModel
from common.whole_numbers import row_id

PER_PAGE = 25
MOST_COUNTED = 10_000  # rows; beyond, a page says that there are more


@dataclass(frozen=True)
class Battles:
    """Name a model and the one that it met; without `other`, all that it met."""

    model: LanguageModel
    other: LanguageModel | None = None

    @property
    def query(self) -> str:
        """Return the battles as an address has them."""
        return f"{self.model.pk}-{self.other.pk}" if self.other else str(self.model.pk)

    def parts(self, comparisons: QuerySet[Any]) -> list[QuerySet[Any]]:
        """Return the rows with the model as A, and those with it as B: apart, so that each is found by its index."""
        return [comparisons.filter(self._where(*sides)) for sides in (("a", "b"), ("b", "a"))]

    def _where(self, own: str, others: str) -> Q:
        is_own = Q(**{f"completion_{own}__model": self.model.pk})
        field = f"completion_{others}__model"
        if self.other is not None:
            return is_own & Q(**{field: self.other.pk})
        return is_own & Q(**{f"{field}__isnull": False}) & ~Q(**{field: F(f"completion_{own}__model")})


@dataclass(frozen=True)
class RowPage:
    """Hold the ids of a page, newest first; `older` is what the next page begins below, None at the end."""

    ids: list[int]
    older: int | None


def parse_battles(text: str, models: QuerySet[LanguageModel]) -> Battles:
    """Return the battles that an address names: `7` all of model 7, `7-9` those of two. Raises Refused."""
    numbers = [row_id(part) for part in text.split("-")]
    found = models.in_bulk(numbers)
    if len(numbers) > 2 or len(found) != len(numbers):
        raise Refused(404, pair=f"There is no pair {text[:60]} here; use the numbers of two models, such as 7-9.")
    return Battles(*(found[number] for number in numbers))


def page_of(parts: Sequence[QuerySet[Any]], before: int | None) -> RowPage:
    """Return a page of rows that are in one of the parts, with ids below `before`."""
    ids: set[int] = set()
    for part in parts:
        rows = part if before is None else part.filter(pk__lt=before)
        ids.update(rows.order_by("-pk").values_list("pk", flat=True)[: PER_PAGE + 1])
    newest = sorted(ids, reverse=True)
    return RowPage(newest[:PER_PAGE], newest[PER_PAGE - 1] if len(newest) > PER_PAGE else None)


def counted(parts: Sequence[QuerySet[Any]]) -> int:
    """Return how many rows the parts have, at most one more than MOST_COUNTED."""
    return min(sum(part.order_by()[: MOST_COUNTED + 1].count() for part in parts), MOST_COUNTED + 1)
