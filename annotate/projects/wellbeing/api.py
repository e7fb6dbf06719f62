"""Withhold harmful text from a reader who has not asked for it, or has not agreed to see that kind."""

from __future__ import annotations

from collections.abc import Collection
from functools import cached_property
from typing import Any

from drf_spectacular.utils import OpenApiParameter
from rest_framework.request import Request

from annotate.core.permissions import projects_where
from annotate.models import Prompt
from annotate.projects.wellbeing import actions as harm_budget
from common import harm_kinds as harms

SHOW_HARMFUL = OpenApiParameter(
    "show_harmful",
    bool,
    description="true: include texts about the kinds of harm that you have agreed to see "
    "(PUT harm-budget/). By default they are withheld.",
)
WITHHELD = "Why a text about harm is left out of this row, and what to do; empty if nothing is left out."


class Reader:
    """Show to whoever asks, and whether they ask for harm. Their own words are never withheld."""

    def __init__(self, request: Request) -> None:
        self.user = request.user
        self.asks = request.query_params.get("show_harmful", "").lower() in ("true", "1")

    def withholds(self, prompt: Prompt) -> str:
        """Return why the texts of this prompt and its answers are not for this reader now; empty when they are."""
        is_own = prompt.created_by_id is not None and prompt.created_by_id == self.user.pk
        return "" if is_own else self.withholds_kinds(prompt.harm.split())

    def withholds_kinds(self, kinds: Collection[str]) -> str:
        unwanted = [kind for kind in kinds if kind not in self._agreed] if kinds else []
        if unwanted:
            named = harms.title(" ".join(unwanted))
            return f"It is about harm that you have not agreed to see ({named}); say so by PUT harm-budget/."
        return "It is about harm; ask with ?show_harmful=true." if kinds and not self.asks else ""

    @cached_property
    def researches(self) -> frozenset[int]:
        """Return the ids of the projects in which they are a researcher: looked up once for a whole list."""
        return frozenset(projects_where(self.user, "research").values_list("pk", flat=True))

    @cached_property
    def _agreed(self) -> frozenset[str]:
        return harm_budget.readable(self.user)


def context_of(request: Request) -> dict[str, Any]:
    """Return the context for serializers of what may be about harm."""
    return {"request": request, "reader": Reader(request)}
