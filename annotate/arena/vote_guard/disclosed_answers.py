"""Find answers whose author somebody outside has been told: whoever knows them can vote knowingly.

Each vote in the arena tells its voter who wrote the two answers, whatever becomes of it. A stored answer that is shown
again could then be looked up by its text: docs/adr/0018-an-answer-that-was-told-counts-no-more.md. Members whom
somebody has let in do not make an answer told, and their own votes count: they answer for what they do, and may read
stored answers with their authors elsewhere. Simulations tell nobody.
"""

from __future__ import annotations

from datetime import timedelta

from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils import timezone

from annotate.core.permissions import vouched_members
from annotate.models import Battle, Completion, Project

OPEN_SECONDS = 1800  # that a battle without a vote keeps its answers from others: somebody may be reading them


def is_disclosed(battle: Battle) -> bool:
    """Return whether a vote of somebody outside disclosed the author of one of its first answers, or of the same text
    to the same question.

    Later answers need no look: each conversation goes on from its first answer.
    """
    texts = [answer.text for answer in (battle.completion_a, battle.completion_b) if answer]
    same = Q(completion_a__text__in=texts) | Q(completion_b__text__in=texts)
    rows = _outside(battle.project).filter(same, prompt=battle.prompt_id, comparison__isnull=False)
    return rows.exclude(pk=battle.pk).exists()


def without_shown(answers: QuerySet[Completion], project: Project) -> QuerySet[Completion]:
    """Return the answers whose author nobody outside has been told, and that nobody outside may be reading now: of two
    votes the second would be held."""
    since = timezone.now() - timedelta(seconds=OPEN_SECONDS)
    shown_battles = _outside(project).filter(Q(comparison__isnull=False) | Q(created_at__gt=since))
    # Two lookups, each by an index of its own: one with OR would read the whole table.
    as_a, as_b = shown_battles.filter(completion_a=OuterRef("pk")), shown_battles.filter(completion_b=OuterRef("pk"))
    return answers.filter(~Exists(as_a), ~Exists(as_b))


def _outside(project: Project) -> QuerySet[Battle]:
    """Return the project's battles by people for whom nobody vouches.

    Narrow it to a prompt or an answer of the project: with the project in the query as well, SQLite would read all its
    battles for each answer.
    """
    inside = Q(user__is_simulated=True) | Q(user__is_superuser=True) | Q(user__in=vouched_members(project))
    return Battle.objects.filter(Q(user=None) | ~inside)
