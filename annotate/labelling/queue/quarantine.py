"""Take prompts out of the work: quarantined when several annotators skip them as broken or offensive, then taken out or
kept by a reviewer (`annotate.data.prompts.retirement`).

Whoever holds an item of one is told when they send it.
"""

from __future__ import annotations

from dataclasses import dataclass

from django.db import transaction
from django.db.models import Count, F, Max, Q, QuerySet

from annotate.data.prompts.retirement import retire
from annotate.models import Assignment, Flag, Project, Prompt, Split, Status
from common.harm_kinds import UNRATED_TALK

SKIPS_TO_QUARANTINE = 2
BROKEN = "The prompt is unclear or broken"
OFFENSIVE = "Offensive or unsafe"


def after_skip(assignment: Assignment) -> None:
    """Quarantine the prompt when enough people have skipped it for a reason that holds for everybody.

    In a prompt that is known to be about harm, an offensive text is what the work is about.
    """
    prompt = assignment.prompt
    reasons = [BROKEN] if prompt.harm else [BROKEN, OFFENSIVE]
    if assignment.skip_reason not in reasons or assignment.user.is_simulated or prompt.out_since:
        return
    people = _complaints(prompt, reasons).values("user").distinct().count()
    if people >= SKIPS_TO_QUARANTINE:
        with transaction.atomic():
            retire(prompt, f"skipped by {people} people: {assignment.skip_reason}", None)


@dataclass(frozen=True)
class Complaint:
    """A prompt that a reviewer should look at, and what people said of it."""

    prompt: Prompt
    skips: int
    flags: tuple[str, ...]

    @property
    def is_out(self) -> bool:
        return self.prompt.out_since is not None


def waiting(project: Project, limit: int = 50) -> list[Complaint]:
    """Return the prompts that no reviewer has decided about, quarantined or flagged, the newest complaint first."""
    undecided = Q(reviewed_at=None) | Q(out_since__gt=F("reviewed_at"))
    aside = Prompt.objects.filter(undecided, project=project, out_since__isnull=False)
    aside = aside.exclude(out_reason=UNRATED_TALK)  # nobody complained about it
    flagged = Flag.objects.filter(project=project, status=Status.COUNTED, prompt__side=Split.TRAIN)
    newer = flagged.filter(Q(prompt__reviewed_at=None) | Q(created_at__gt=F("prompt__reviewed_at")))
    by_flag = newer.order_by().values("prompt").annotate(last=Max("pk")).order_by("-last")[:limit]
    ids = [row["prompt"] for row in by_flag]
    ids += aside.exclude(pk__in=ids).order_by("-out_since").values_list("pk", flat=True)[:limit]
    prompts = Prompt.objects.select_related("project").in_bulk(ids)
    skips = dict(
        Assignment.objects.filter(prompt__in=ids, state=Assignment.State.SKIPPED)
        .order_by()
        .values_list("prompt")
        .annotate(n=Count("user", distinct=True))
    )
    reasons: dict[int, list[str]] = {}
    for prompt, reason in newer.filter(prompt__in=ids).order_by("pk").values_list("prompt", "reason"):
        reasons.setdefault(prompt, []).append(reason)
    return [Complaint(prompts[pk], skips.get(pk, 0), tuple(reasons.get(pk, ()))) for pk in ids[:limit]]


def _complaints(prompt: Prompt, reasons: list[str]) -> QuerySet[Assignment]:
    rows = Assignment.objects.filter(
        prompt=prompt, state=Assignment.State.SKIPPED, skip_reason__in=reasons, user__is_simulated=False
    )
    return rows.filter(closed_at__gt=prompt.reviewed_at) if prompt.reviewed_at else rows
