"""The rule is looked at as evidence comes, and each change of a candidate's state is a line of the history.

Evidence comes with votes, evaluations, changes of a vote's status, promotions and a new rule. The background worker
looks every few seconds, and so does whoever opens the page; nobody who votes waits for it. What a look costs while
nothing has come is a few look-ups of newest rows.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.db.models import Exists, OuterRef, Q
from django.urls import reverse
from django.utils import timezone

from annotate.core.periodic_tasks import each_alone
from annotate.models import Contestant, Project
from evaluation.core import notices
from evaluation.leaderboard.snapshots import current, stored
from evaluation.models import Candidacy, Decision, Evaluation, Leaderboard, Promotion, PromotionRule
from evaluation.promotion import checks
from evaluation.promotion.enrolment import champion_of, enrol_missing, rule_of
from evaluation.promotion.promotion_events import announce_promotion

log = logging.getLogger("assay.decisions")
TOLD_AGAIN_AFTER = timedelta(hours=1)  # each change is in the history; people are not told of the same one sooner
LIVE = (Candidacy.State.OPEN, Candidacy.State.READY, Candidacy.State.REFUSED)
# Those, and what was withdrawn because its model was retired, once that has been brought back.
STANDING = Q(state__in=LIVE) | Q(state=Candidacy.State.WITHDRAWN, evidence__retired=True, model__retired_at=None)


def periodic_task() -> bool:
    """Do the periodic task: enrol what no signal reached, and look at every project that has candidates."""
    enrol_missing()
    of_project = {"project": OuterRef("pk")}
    waiting = Exists(Candidacy.objects.filter(STANDING, **of_project))
    served = Exists(Promotion.objects.filter(candidacy__isnull=False, **of_project))
    has_rule = Exists(PromotionRule.objects.filter(**of_project))
    projects = Project.objects.filter(waiting | served, has_rule)
    each_alone(projects, look, log, "The candidates of %s could not be looked at; trying again.")
    return False


def look(project: Project) -> list[Candidacy]:
    """Bring every candidate of the project up to date with the evidence; those whose state has changed."""
    rule = rule_of(project)
    if rule is None:
        return []
    evidence_stamp = glance(project, rule, current(project=project, judge=rule.judge))
    standing = project.candidacies.filter(STANDING).select_related("model").order_by("id")
    behind_ids = [one.pk for one in standing if one.evidence.get("seen") != evidence_stamp or _came_or_went(one)]
    served = project.promotions.first()
    if served is not None and served.candidacy is not None and served.candidacy.evidence.get("seen") != evidence_stamp:
        behind_ids.append(served.candidacy.pk)
    candidacies = [_review(pk, rule) for pk in behind_ids]
    return [one for one in candidacies if one is not None]


def glance(project: Project, rule: PromotionRule, board: Leaderboard) -> list[int | str]:
    """Return what tells one state of the evidence from another; `board` is the leaderboard by the rule's judges."""
    return [
        rule.pk,
        board.state,
        board.ratings.get("last_status_change", 0),
        _newest(Evaluation.objects.filter(project=project)),
        _newest(Promotion.objects.filter(project=project)),
        Contestant.objects.filter(project=project, left_at=None, model__retired_at=None).count(),
    ]


def _came_or_went(candidacy: Candidacy) -> bool:
    """Return whether its model was retired since the last look, or brought back."""
    return (candidacy.model.retired_at is not None) != candidacy.evidence.get("retired", False)


def _newest(rows: Any) -> int:
    return rows.order_by("-id").values_list("id", flat=True).first() or 0


def _review(pk: int, rule: PromotionRule) -> Candidacy | None:
    """Return the candidacy, when its state has changed; None otherwise.

    Ratings and checks are computed first, for they may take seconds. What they say is written under the lock, unless
    the candidacy has changed meanwhile: two processes that look at once find one change, and the next look the rest.
    """
    candidacy = Candidacy.objects.select_related("model__parent", "project").get(pk=pk)
    before = _state_of(candidacy)
    board = current(project=candidacy.project, judge=rule.judge)
    evidence_stamp = glance(candidacy.project, rule, board)
    is_gone = candidacy.model.retired_at is not None and candidacy.state in LIVE
    if not is_gone and candidacy.evidence.get("seen") == evidence_stamp and not _came_or_went(candidacy):
        return None
    standing = None if is_gone else take_in(candidacy, rule, evidence_stamp)
    with transaction.atomic():
        locked = Candidacy.objects.select_for_update(of=("self",)).select_related("model").get(pk=pk)
        if _state_of(locked) != before:
            return None
        if standing is None:
            return _withdraw(candidacy, evidence_stamp)
        return _apply(candidacy, rule, standing, evidence_stamp, board)


def _state_of(candidacy: Candidacy) -> tuple[Any, ...]:
    return candidacy.state, candidacy.evidence, candidacy.model.retired_at


def _apply(
    candidacy: Candidacy,
    rule: PromotionRule,
    standing: checks.Standing,
    evidence_stamp: list[int | str],
    board: Leaderboard,
) -> Candidacy | None:
    """Write what was found of a candidacy that is locked; return it when its state has changed."""
    if candidacy.state == Candidacy.State.PROMOTED:
        _look_back(candidacy, rule, standing, board)
        return None
    if (
        standing.state == Candidacy.State.READY
        and rule.is_automatic
        and _is_overtaken(candidacy.project, rule, evidence_stamp)
    ):
        return None  # not a line is written: the next look sees what has come
    changed = standing.state != candidacy.state
    candidacy.state = standing.state
    candidacy.save(update_fields=["state", "evidence", "changed_at"])
    if not changed:
        return None
    _decide(candidacy, rule, standing, board)
    return candidacy


def _is_overtaken(project: Project, rule: PromotionRule, evidence_stamp: list[int | str]) -> bool:
    """Return whether another promotion or rule has come while the checks were made. From here on nobody else
    promotes."""
    Project.objects.select_for_update(no_key=True).filter(pk=project.pk).values_list("pk").first()
    return rule_of(project) != rule or _newest(Promotion.objects.filter(project=project)) != evidence_stamp[4]


def take_in(candidacy: Candidacy, rule: PromotionRule, evidence_stamp: list[int | str]) -> checks.Standing:
    """Check everything anew, into the candidacy's evidence; nothing is saved and nothing decided."""
    before = candidacy.evidence
    are_votes_kept = before.get("seen", [])[:3:2] == evidence_stamp[:3:2]  # the same rule, and no vote taken away
    standing = checks.check(candidacy, rule, champion_of(candidacy.project), are_votes_kept=are_votes_kept)
    candidacy.evidence = {
        "seen": evidence_stamp,
        "rule": rule.pk,
        "checks": standing.as_json(),
        "stands": before.get("stands", False),
    }
    return standing


def _decide(candidacy: Candidacy, rule: PromotionRule, standing: checks.Standing, board: Leaderboard) -> None:
    sentence, kind = _sentence(candidacy, standing), _WHAT[Candidacy.State(standing.state)]
    lately = _has_recent_decision(candidacy, kind)
    record(candidacy, rule, kind, sentence, board)
    if standing.state == Candidacy.State.READY and rule.is_automatic and candidacy.model.answers:
        _promote_by_rule(candidacy, rule, board)
    elif lately:  # the leaderboard's interval may go back and forth while votes stream in
        return
    elif standing.state == Candidacy.State.READY:
        first = standing.checks[0]
        text = f"{candidacy.model} meets the rule. {first.title}: {first.found}. Promote it with one click."
        tell(candidacy.project, text)
    else:
        tell(candidacy.project, sentence)


def _has_recent_decision(candidacy: Candidacy, kind: str) -> bool:
    return candidacy.decisions.filter(what=kind, created_at__gt=timezone.now() - TOLD_AGAIN_AFTER).exists()


_WHAT = {
    Candidacy.State.READY: Decision.What.READY,
    Candidacy.State.REFUSED: Decision.What.REFUSED,
    Candidacy.State.OPEN: Decision.What.OPEN,
}


def _sentence(candidacy: Candidacy, standing: checks.Standing) -> str:
    if standing.state == Candidacy.State.READY:
        return f"{candidacy.model} meets the rule with all {len(standing.checks)} checks. {_all(standing, checks.MET)}"
    if standing.state == Candidacy.State.REFUSED:
        return f"{candidacy.model} does not pass the rule. {_all(standing, checks.BROKEN)}"
    return f"{candidacy.model} is undecided again, because evidence has changed. {_all(standing, checks.NOT_YET)}"


def _all(standing: checks.Standing, state: str) -> str:
    return " ".join(f"{each.title}: {each.found}." for each in standing.checks if each.state == state)


def _promote_by_rule(candidacy: Candidacy, rule: PromotionRule, board: Leaderboard) -> None:
    reason = f"By the rule, automatically: {candidacy.model} meets all checks."
    promote_candidate(candidacy, rule, board, reason=reason)
    tell(candidacy.project, f"{candidacy.project} now serves {candidacy.model} by default. {reason}")


def promote_candidate(
    candidacy: Candidacy, rule: PromotionRule | None, board: Leaderboard, *, reason: str, by: Any = None
) -> Promotion:
    """Serve it from now on. The evidence is the leaderboard of this moment and the checks as they stand."""
    promotion = Promotion.objects.create(
        project=candidacy.project,
        model=candidacy.model,
        candidacy=candidacy,
        leaderboard=stored(board),
        reason=reason,
        promoted_by=by,
        is_automatic=by is None,
    )
    candidacy.state = Candidacy.State.PROMOTED
    states = {row["state"] for row in candidacy.evidence.get("checks", [])}
    candidacy.evidence = {**candidacy.evidence, "stands": states == {checks.MET}}
    candidacy.save(update_fields=["state", "evidence", "changed_at"])
    sentence = f"{candidacy.model} is served by default. {reason}"
    record(candidacy, rule, Decision.What.PROMOTED, sentence, board, by=by)
    announce_promotion(promotion)
    return promotion


def _look_back(candidacy: Candidacy, rule: PromotionRule, standing: checks.Standing, board: Leaderboard) -> None:
    """Tell people, once, when the evidence for what is served goes: nothing is silently unserved."""
    stood = candidacy.evidence["stands"]
    # Without a parent nothing is left to be set against, now that it is served itself: then it stands as it stood.
    still_stands = all(each.state == checks.MET for each in standing.checks) if standing.checks else stood
    candidacy.evidence["stands"] = still_stands
    candidacy.save(update_fields=["evidence", "changed_at"])
    if stood and not still_stands:
        reason = f"{_all(standing, checks.BROKEN)} {_all(standing, checks.NOT_YET)}".strip()
        sentence = (
            f"{candidacy.model} is served by default, and no longer meets the rule by which it was promoted: {reason}"
        )
        lately = _has_recent_decision(candidacy, Decision.What.OPEN)
        record(candidacy, rule, Decision.What.OPEN, sentence, board)
        if not lately:
            tell(candidacy.project, f"{sentence} It stays the default until somebody rolls it back.")
    elif still_stands and not stood:
        sentence = f"{candidacy.model}, which is served by default, meets the rule again."
        record(candidacy, rule, Decision.What.READY, sentence, board)


def _withdraw(candidacy: Candidacy, evidence_stamp: list[int | str]) -> Candidacy:
    candidacy.state = Candidacy.State.WITHDRAWN
    candidacy.evidence = {**candidacy.evidence, "seen": evidence_stamp, "retired": True}
    candidacy.save(update_fields=["state", "evidence", "changed_at"])
    reason = candidacy.model.retired_reason or "no reason was given"
    record(candidacy, None, Decision.What.WITHDRAWN, f"{candidacy.model} was retired: {reason}.")
    return candidacy


def record(
    candidacy: Candidacy,
    rule: PromotionRule | None,
    what: str,
    sentence: str,
    board: Leaderboard | None = None,
    by: Any = None,
) -> Decision:
    """Return a line of the history, with the checks as they stood and the leaderboard that they were read from."""
    evidence: dict[str, Any] = {"checks": candidacy.evidence.get("checks", [])}
    if rule is not None and board is not None and (snapshot := stored(board)):
        evidence["leaderboard"] = snapshot.pk
    return Decision.objects.create(
        project=candidacy.project,
        candidacy=candidacy,
        rule=rule,
        what=what,
        sentence=sentence,
        evidence=evidence,
        by=by,
    )


def tell(project: Project, text: str, but: Any = None) -> None:
    notices.tell(project=project, text=text, url=reverse("decisions", args=[project.slug]), but=but)


STATES_SHOWN = (Candidacy.State.READY, Candidacy.State.OPEN, Candidacy.State.REFUSED)


@dataclass(frozen=True)
class Candidate:
    """One that stands for being served, with its checks as they are now."""

    candidacy: Candidacy
    checks: list[checks.Check]

    @property
    def is_ready(self) -> bool:
        return self.candidacy.state == Candidacy.State.READY


def candidates(project: Project) -> list[Candidate]:
    """Return the candidates, ready ones first, then the latest."""
    rows = project.candidacies.filter(state__in=STATES_SHOWN).select_related("model__parent", "run", "champion")
    order = {state: index for index, state in enumerate(STATES_SHOWN)}
    rows_in_order = sorted(rows, key=lambda row: (order[Candidacy.State(row.state)], -row.pk))
    return [Candidate(row, checks.from_json(row.evidence.get("checks", []))) for row in rows_in_order]
