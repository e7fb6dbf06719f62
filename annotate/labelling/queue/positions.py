"""Choose which of two answers stands on the left: by lot, and evenly for each annotator and each two models.

A coin alone leaves an annotator of a few dozen pairs with one model on the left far more often, and whoever leans to
one side would then lean to a model. So the coin is weighted towards the side that is behind (Efron's biased coin,
1971), and a lead of two is made up at once (the big stick of Soares and Wu, 1983). Who does not know the models cannot
foresee it. The sum over annotators stays as even as they are.
"""

from __future__ import annotations

import random

from annotate.core.db.prepared import Asked, Prepared, Slot, ask
from annotate.models import Completion, Project, SideCount, User

TOWARDS_BALANCE = 0.75
FARTHEST_LEAD = 2
_lot = random.SystemRandom()
_leads = Prepared(
    lambda: SideCount.objects.filter(
        project=Slot("project"), user=Slot("user"), first=Slot("first"), second=Slot("second")
    ).values_list("lead")
)


_KEEP = """
INSERT INTO annotate_sidecount (project_id, user_id, "first", "second", lead)
VALUES (%(project)s, %(user)s, %(first)s, %(second)s, %(lead)s)
ON CONFLICT (user_id, project_id, "first", "second") DO UPDATE SET lead = excluded.lead"""


def chance_on_the_left(lead: int) -> float:
    """Return the chance of the left for the first of two models, when it has been there `lead` times more than the
    second."""
    if abs(lead) >= FARTHEST_LEAD:
        return float(lead < 0)
    return {-1: TOWARDS_BALANCE, 0: 0.5, 1: 1 - TOWARDS_BALANCE}[lead]


def in_order(project: Project, user: User, a: Completion, b: Completion) -> tuple[Completion, Completion, Asked]:
    """Return left, right, and what counts that order. Hold the project's lock until that has run."""
    first, second = sorted((a, b), key=lambda c: (c.model_id or 0, c.pk))
    lead = _lead(project, user, first, second)
    is_left = _lot.random() < chance_on_the_left(lead)
    kept = _kept(project, user, first, second, lead + (1 if is_left else -1))
    return (first, second, kept) if is_left else (second, first, kept)


def count_swapped(project: Project, user: User, left: Completion, right: Completion) -> None:
    """Count an order that was not drawn: that of a mirrored repeat."""
    first, second = sorted((left, right), key=lambda c: (c.model_id or 0, c.pk))
    lead = _lead(project, user, first, second)
    ask(_kept(project, user, first, second, lead + (1 if first == left else -1)))


def shuffled(ids: tuple[int, ...]) -> list[int]:
    return _lot.sample(ids, len(ids))


def _models(first: Completion, second: Completion) -> dict[str, int]:
    pair = (first.model_id or 0, second.model_id or 0)
    return dict(zip(("first", "second"), pair if pair[0] != pair[1] else (0, 0), strict=True))


def _lead(project: Project, user: User, first: Completion, second: Completion) -> int:
    lead = _leads.first(project=project.pk, user=user.pk, **_models(first, second))
    return lead[0] if lead else 0


def _kept(project: Project, user: User, first: Completion, second: Completion, lead: int) -> Asked:
    return Asked(_KEEP, {"project": project.pk, "user": user.pk, "lead": lead, **_models(first, second)}, None)
