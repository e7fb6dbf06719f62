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
Leads = dict[tuple[int, int], int]  # by two models
_leads = Prepared(
    lambda: SideCount.objects.filter(
        project=Slot("project"), user=Slot("user"), first=Slot("first"), second=Slot("second")
    ).values_list("lead")
)


_KEEP = """
INSERT INTO annotate_sidecount (project_id, user_id, "first", "second", lead)
VALUES (%(project)s, %(user)s, %(first)s, %(second)s, %(lead)s)
ON CONFLICT (user_id, project_id, "first", "second") DO UPDATE SET lead = excluded.lead"""

# All is in the index that keeps them unique; 0 stands for a model that is not known.
_OF_PROMPT = "ARRAY(SELECT COALESCE(model_id, 0) FROM annotate_completion WHERE prompt_id = {prompt}) || 0::bigint"
_LEADS_ON = f"""
SELECT "first", "second", lead FROM annotate_sidecount
WHERE user_id = %(user)s AND project_id = %(project)s AND "first" = ANY ({_OF_PROMPT}) AND "second" = ANY ({_OF_PROMPT})
"""


def chance_on_the_left(lead: int) -> float:
    """Return the chance of the left for the first of two models, when it has been there `lead` times more than the
    second."""
    if abs(lead) >= FARTHEST_LEAD:
        return float(lead < 0)
    return {-1: TOWARDS_BALANCE, 0: 0.5, 1: 1 - TOWARDS_BALANCE}[lead]


def leads_on(project: Project, user: User, prompt: str) -> Asked:
    """Return the question for the leads between the models that answered a prompt, whose id is an expression of SQL: on
    Postgres, where it goes with others."""
    return Asked(_LEADS_ON.format(prompt=prompt), {"project": project.pk, "user": user.pk}).then(
        lambda rows: [{(first, second): lead for first, second, lead in rows}]
    )


def in_order(
    project: Project, user: User, a: Completion, b: Completion, leads: Leads | None = None
) -> tuple[Completion, Completion, Asked]:
    """Return left, right, and what counts that order. Hold the project's lock until that has run. `leads` were read
    under it, where they were."""
    first, second = sorted((a, b), key=lambda c: (c.model_id or 0, c.pk))
    lead = _lead(project, user, first, second) if leads is None else leads.get(_pair(first, second), 0)
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


def _pair(first: Completion, second: Completion) -> tuple[int, int]:
    pair = (first.model_id or 0, second.model_id or 0)
    return pair if pair[0] != pair[1] else (0, 0)


def _models(first: Completion, second: Completion) -> dict[str, int]:
    return dict(zip(("first", "second"), _pair(first, second), strict=True))


def _lead(project: Project, user: User, first: Completion, second: Completion) -> int:
    lead = _leads.first(project=project.pk, user=user.pk, **_models(first, second))
    return lead[0] if lead else 0


def _kept(project: Project, user: User, first: Completion, second: Completion, lead: int) -> Asked:
    return Asked(_KEEP, {"project": project.pk, "user": user.pk, "lead": lead, **_models(first, second)}, None)
