"""Choose first what another app waits for, such as the pairs that people are to review while a run trains."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from annotate.core.db.prepared import Asked, ask
from annotate.core.hooks import Hook
from annotate.labelling.queue.assigned_items import COMPARE, RATE, Item, taken
from annotate.models import Project, User
from annotate.projects import member_languages
from annotate.projects.wellbeing import actions as harm_budget


@dataclass(frozen=True)
class UrgentPair:
    """Two answers that another app wants compared, or one that it wants rated: first while it `is_open`.

    `is_reserved` answers are asked about in no other company. `places` is how many are to judge it, those who have
    done so included; None: as many as the project asks for.
    """

    prompt_id: int
    completion_ids: tuple[int, ...]
    is_open: bool
    is_reserved: bool = True
    places: int | None = None

    @property
    def item(self) -> Item:
        return Item(self.prompt_id, tuple(sorted(self.completion_ids)))

    def places_in(self, project: Project) -> int:
        return project.overlap if self.places is None else self.places


URGENT: Hook[Callable[[Project], Asked]] = Hook(
    "urgent items",
    "Called with a project whenever an item is chosen; returns the question, as `annotate.core.db.prepared` asks it, "
    "whose answer is the pairs that come before all others, the most urgent first.",
)


def urgent_pairs(project: Project) -> list[UrgentPair]:
    return [pair for pairs in ask(*urgent_questions(project)) for pair in pairs]


def urgent_questions(project: Project) -> list[Asked]:
    return [question(project) for question in URGENT.values()]


def reserved_in(pairs: Iterable[UrgentPair]) -> set[int]:
    """Return the answers that are left out of the queue: other apps ask about them."""
    return {pk for pair in pairs if pair.is_reserved for pk in pair.completion_ids}


def in_languages(pairs: list[UrgentPair], languages: Sequence[str]) -> list[UrgentPair]:
    """Return the pairs on prompts in one of these languages or in none. Most of the time there are none."""
    if not pairs or not languages:
        return pairs
    prompts = member_languages.readable({pair.prompt_id for pair in pairs}, languages)
    return [pair for pair in pairs if pair.prompt_id in prompts]


def choose_urgent(*, pairs: Iterable[UrgentPair], project: Project, user: User, kind: str = COMPARE) -> Item | None:
    """Return the first open item of that kind that this user may have."""
    size = {RATE: 1, COMPARE: 2}.get(kind)
    open_items = [
        (pair.item, pair.places_in(project)) for pair in pairs if pair.is_open and len(pair.completion_ids) == size
    ]
    keys = [item.key for item, _ in open_items]
    if not keys:
        return None
    filled = taken(project, is_simulated=user.is_simulated).filter(kind=kind, item__in=keys)
    counts_by_item = Counter(filled.values_list("item", flat=True))
    served = set(project.assignments.filter(user=user, item__in=keys).values_list("item", flat=True))
    free = [item for item, limit in open_items if counts_by_item[item.key] < limit and item.key not in served]
    visible_prompts = harm_budget.may_see({item.prompt_id for item in free}, user)
    return next((item for item in free if item.prompt_id in visible_prompts), None)


def places_of(project: Project, key: str) -> int:
    """Return how many may annotate the item of that key: as the project asks for, or as another app asked."""
    limits = [pair.places_in(project) for pair in urgent_pairs(project) if pair.is_open and pair.item.key == key]
    return max([project.overlap, *limits])
