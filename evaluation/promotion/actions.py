"""Change the rule of a project, what it serves, and what goes back to annotators."""

from __future__ import annotations

import math
from typing import Any

from django.db import transaction

from annotate.core import audit
from annotate.core.errors import Refused
from annotate.core.permissions import require
from annotate.models import AnnotatorKind, LanguageModel, Project, User
from evaluation.core.served_model import promoted, served_before
from evaluation.leaderboard.snapshots import current, stored
from evaluation.models import Candidacy, Decision, Leaderboard, Promotion, PromotionRule
from evaluation.promotion import candidate_review, checks, tolerances
from evaluation.promotion.enrolment import annotator_kind_of, rule_of
from evaluation.promotion.promotion_events import announce_promotion

MOST_TOLERANCES = 20
MOST_POINTS = 4000
LONGEST_REASON = 500
LONGEST_NAMES = {"task": 200, "metric": 60}


@transaction.atomic
def set_rule(*, project: Project, by: User, **fields: Any) -> PromotionRule:
    """Return a new version of the rule, in force at once. Refused by field; earlier versions are kept."""
    require(by, "manage", project)
    before = rule_of(project)
    rule = PromotionRule(project=project, created_by=by, **_checked(fields))
    rule.save()
    sentence = in_words(rule)
    Decision.objects.create(project=project, rule=rule, what=Decision.What.RULE_CHANGED, sentence=sentence, by=by)
    changes = {"rule": [in_words(before) if before else None, sentence]}
    audit.record(action="promotion.rule", about=f"rule {rule.pk}", by=by, project=project, changes=changes)
    transaction.on_commit(lambda: candidate_review.look(project), robust=True)  # else the background worker does it
    return rule


def in_words(rule: PromotionRule) -> str:
    """Return the whole rule in a few sentences."""
    votes = "people's votes" if rule.judge == AnnotatorKind.PERSON else "simulated annotators' votes"
    method = "a confidence sequence" if rule.always_valid else "the leaderboard's interval"
    over = f"more than {rule.margin:g} points above" if rule.margin else "above"
    sentences = [f"By {votes}, with {method}: the lower bound of a model must be {over} its parent"]
    sentences[0] += " and what is served now." if rule.beats_champion else "."
    if rule.always_valid and rule.first_votes_only:
        sentences.append("Only the first vote of each voter on a pair counts.")
    if rule.fewest_votes:
        sentences.append(f"At least {rule.fewest_votes:,} votes.")
    sentences += [f"{tolerances.in_words(t)}." for t in rule.tolerances]
    sentences.append("Promotion is automatic." if rule.is_automatic else "A manager promotes with one click.")
    return " ".join(sentences)


def promote(*, project: Project, model: LanguageModel, reason: str, by: User) -> Promotion:
    """Serve `model` as the project's default from now on, with the leaderboard of this moment as the evidence.

    A manager may serve what the rule has not passed; the history then says which of its checks were not met.
    """
    require(by, "manage", project)
    _may_be_served(project, model)
    reason = _checked_reason(reason, "Enter in a few words why this model is served; the history records it.")
    # Before the transaction, for they may take seconds: the leaderboard, and the checks of this very moment.
    board, rule = current(project=project, judge=annotator_kind_of(project)), rule_of(project)
    checked = _checked_now(project, model, rule, board)
    with transaction.atomic():
        # First the candidacy and then the project, as the rule's own promotions and a roll-back take them.
        candidacies = project.candidacies.filter(model=model).select_for_update(of=("self",))
        candidacy = candidacies.select_related("model__parent", "project").first()
        _hold(project)
        in_force = promoted(project)
        if in_force is not None and in_force.model_id == model.pk:
            raise Refused(409, model=f"{project} already serves {model} by default.")
        served = in_force.model.name if in_force is not None else None
        _on_trail("model.promoted", project, served, model, reason, by)
        if candidacy is not None:
            return _promote_candidate(candidacy, rule, checked, board, reason, by)
        promotion = Promotion.objects.create(
            project=project, model=model, leaderboard=stored(board), reason=reason, promoted_by=by
        )
        sentence = f"{model} is served by default. {promotion.reason}"
        Decision.objects.create(project=project, what=Decision.What.PROMOTED, sentence=sentence, by=by)
        announce_promotion(promotion)
    return promotion


def roll_back(*, project: Project, reason: str, by: User, promotion: int | None = None) -> Promotion:
    """Serve again what was served before the promotion in force. Whatever is rolled back is not promoted by itself.

    `promotion`: that in force when somebody decided; refused where another is by now.
    """
    require(by, "manage", project)
    reason = _checked_reason(reason, "Enter in a few words what is wrong with the model that is served now.")
    board = current(project=project, judge=annotator_kind_of(project))  # before the transaction: it may fit ratings
    with transaction.atomic():
        # First the candidacies and then the project, as everybody does: else two who press at once block each other.
        served = project.candidacies.filter(pk__in=project.promotions.values("candidacy"))
        list(served.select_for_update().order_by("pk"))
        _hold(project)
        now, before = promoted(project), served_before(project)
        if now is None or before is None:
            raise Refused(409, project=f"{project} served no other model before; promote another model.")
        if promotion not in (None, now.pk):
            raise Refused(409, promotion=f"{project} serves {now.model} by now. Look again, and decide about that.")
        _may_be_served(project, before.model)
        rolled_back = Promotion.objects.create(
            project=project,
            model=before.model,
            leaderboard=stored(board),
            reason=reason,
            candidacy=before.candidacy,
            rolls_back=now,
            promoted_by=by,
        )
        _record_roll_back(now, rolled_back, by)
        _on_trail("model.rolled back", project, now.model.name, before.model, reason, by)
        announce_promotion(rolled_back)
    return rolled_back


def _on_trail(action: str, project: Project, before: str | None, model: LanguageModel, reason: str, by: User) -> None:
    changes = {"served by default": [before, model.name]}
    audit.record(action=action, about=model.name, by=by, project=project, changes=changes, reason=reason)


def _checked_now(
    project: Project, model: LanguageModel, rule: PromotionRule | None, board: Leaderboard
) -> Candidacy | None:
    """Return the model's candidacy, unsaved, with the checks as they stand now; None without one or without a rule."""
    candidacy = project.candidacies.filter(model=model).select_related("model__parent", "project").first()
    if candidacy is None or rule is None:
        return None
    candidate_review.take_in(candidacy, rule, candidate_review.glance(project, rule, board))
    return candidacy


def _promote_candidate(
    candidacy: Candidacy,
    rule: PromotionRule | None,
    checked: Candidacy | None,
    board: Leaderboard,
    reason: str,
    by: User,
) -> Promotion:
    unmet = []
    if checked is not None:
        candidacy.evidence = checked.evidence
        unmet = [row["title"] for row in checked.evidence["checks"] if row["state"] != checks.MET]
    if unmet:
        end = "" if reason.endswith((".", "!", "?", "…")) else "."
        reason = f"{reason}{end} Not met of the rule: {'; '.join(unmet)}."
    promotion = candidate_review.promote_candidate(candidacy, rule, board, reason=reason, by=by)
    candidate_review.tell(candidacy.project, f"{by} serves {candidacy.model} by default: {promotion.reason}", but=by)
    return promotion


def _record_roll_back(now: Promotion, promotion: Promotion, by: User) -> None:
    sentence = f"{promotion.model} is served again in place of {now.model}: {promotion.reason}"
    candidacy = now.candidacy
    Decision.objects.create(
        project=promotion.project,
        candidacy=candidacy,
        rule=rule_of(promotion.project),
        what=Decision.What.ROLLED_BACK,
        sentence=sentence,
        evidence={"checks": candidacy.evidence.get("checks", [])} if candidacy else {},
        by=by,
    )
    if candidacy is not None:  # else an automatic rule would serve it again at its next look
        candidacy.state = Candidacy.State.WITHDRAWN
        candidacy.save(update_fields=["state", "changed_at"])
    if promotion.candidacy is not None:  # it may have been rolled back itself, and promoted again since
        promotion.candidacy.state = Candidacy.State.PROMOTED
        promotion.candidacy.save(update_fields=["state", "changed_at"])
    candidate_review.tell(promotion.project, f"{by} rolled back: {sentence}", but=by)


def _may_be_served(project: Project, model: LanguageModel) -> None:
    if model.kind != LanguageModel.Kind.POLICY:
        raise Refused(400, model=f"{model} is a {model.kind} model and cannot answer; choose a policy model.")
    if not model.answers:
        raise Refused(400, model=f"{model} has no weights and no endpoint, so it cannot be served; choose its parent.")
    if model.retired_at is not None:
        raise Refused(409, model=f"{model} is retired; choose another model.")
    if not model.contests.filter(project=project, left_at=None).exists():
        raise Refused(400, model=f"{model} is not in the arena of {project}; enter it there first.")


def _checked_reason(reason: str, question: str) -> str:
    """Return a reason as it is kept. Refused when it is empty, or longer than a line of the history holds."""
    reason = reason.strip()
    if not reason:
        raise Refused(400, reason=question)
    if len(reason) > LONGEST_REASON or "\x00" in reason:
        raise Refused(400, reason=f"Use at most {LONGEST_REASON} characters of plain text.")
    return reason


def _hold(project: Project) -> None:
    """Lock the project until the transaction ends: nobody else changes what it serves."""
    Project.objects.select_for_update(no_key=True).filter(pk=project.pk).values_list("pk").first()


def _checked(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a rule. Raises Refused with each that is wrong."""
    errors: dict[str, str] = {}
    judge = fields.get("judge", AnnotatorKind.PERSON)
    if judge not in AnnotatorKind.values:
        errors["judge"] = f"{judge!r} is not a kind of annotator; use {' or '.join(AnnotatorKind.values)}."
    margin = fields.get("margin", 0)
    if not _is_number(margin) or not 0 <= margin <= MOST_POINTS:
        errors["margin"] = f"Enter rating points from 0 to {MOST_POINTS}."
    fewest = fields.get("fewest_votes", 0)
    if type(fewest) is not int or not 0 <= fewest <= 1_000_000_000:
        errors["fewest_votes"] = "Enter a whole number of votes, 0 or more."
    sampling = fields.get("sampling", PromotionRule.Sampling.AUTO)
    if sampling not in PromotionRule.Sampling.values:
        errors["sampling"] = f"{sampling!r} is unknown; use one of {', '.join(PromotionRule.Sampling.values)}."
    rows = fields.get("tolerances", [])
    if problem := _wrong_tolerances(rows):
        errors["tolerances"] = problem
    if errors:
        raise Refused(400, **errors)
    switches = ("always_valid", "first_votes_only", "beats_champion", "is_automatic")
    return {
        "judge": judge,
        "margin": float(margin),
        "fewest_votes": fewest,
        "sampling": sampling,
        "tolerances": [
            {"task": t["task"].strip(), "metric": t["metric"].strip(), "worst": float(t["worst"])} for t in rows
        ],
        **{name: bool(fields[name]) for name in switches if name in fields},
    }


def _wrong_tolerances(rows: Any) -> str:
    if not isinstance(rows, list) or len(rows) > MOST_TOLERANCES:
        return f"Send a list of at most {MOST_TOLERANCES} entries with task, metric and worst."
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict) or set(row) != {"task", "metric", "worst"}:
            return f"Entry {number} needs exactly task, metric and worst."
        if not all(_is_name(row[name], longest) for name, longest in LONGEST_NAMES.items()):
            return f"Entry {number} needs the name of a task and of a metric."
        if not _is_number(row["worst"]) or row["worst"] < 0:
            return f"Entry {number}: worst is the maximum loss in the metric's own unit, 0 or more."
    return ""


def _is_name(value: Any, longest: int) -> bool:
    return isinstance(value, str) and 0 < len(value.strip()) <= longest and "\x00" not in value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
