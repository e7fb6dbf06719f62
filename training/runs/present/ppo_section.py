"""Present a PPO run beside what all runs show: people's opinion, and whether the score still means something."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from annotate.models import AnnotatorKind
from common.texts import percent
from training.core import review_agreement
from training.models import Review, Run
from training.runs.human_review import reviews as human_review
from training.runs.ordering import pauses
from training.runs.present import score_trust
from training.runs.present.review_picture import Mark, picture

_PAIRS = 6


@dataclass(frozen=True)
class ReviewLine:
    """One review: how many pairs, what the reward model expects, what people and simulations said."""

    step: int
    pairs: int
    predicted: str
    people: str
    simulations: str
    agreement: str
    open: int


@dataclass(frozen=True)
class Judged:
    """A pair that has been judged, for those who may know which answer is whose."""

    review: Review
    preferred: str

    @property
    def expected(self) -> str:
        return percent(self.review.predicted)


def review_context(run: Run) -> dict[str, Any]:
    """Return what people said of its answers while it trained, for the tab of the human review."""
    reviewed = human_review.reviewed_pairs(run)
    config = pauses.config_now(run)
    reward = "the reward function" if run.config.get("reward_function") else "the reward model"
    return {
        "reviews": _lines(reviewed, config),
        "review_verdicts": _verdicts(reviewed, reward),
        "reward_name": reward,
        "review_picture": picture(marks) if len(marks := _marks(reviewed, config)) > 1 else "",
        "not_asked": sorted(Counter(one.not_asked for one in reviewed if one.not_asked).items()),
        "open_pairs": sum(1 for one in reviewed if _is_open(one)),
        "judged_pairs": _judged_pairs(run, reviewed),
        "config_now": config,
    }


def charts_context(run: Run) -> dict[str, Any]:
    """Return what stands beside the curves: whether the score still means something."""
    return {"config_now": pauses.config_now(run), **score_trust.context(run)}


def _lines(reviewed: Sequence[human_review.ReviewedPair], config: dict[str, Any]) -> list[ReviewLine]:
    lines = []
    for step in sorted({one.step for one in reviewed}, reverse=True):
        step_pairs = [one for one in reviewed if one.step == step and not one.not_asked]
        if not step_pairs:
            continue
        opinions = _opinions(step_pairs, config)
        lines.append(
            ReviewLine(
                step=step,
                pairs=len(step_pairs),
                predicted=_percent([one.predicted for one in step_pairs]),
                people=_percent([one.people for one in step_pairs if one.people is not None]),
                simulations=_percent([one.simulations for one in step_pairs if one.simulations is not None]),
                agreement=_agreement(review_agreement.agreement(opinions)),
                open=sum(1 for one in step_pairs if _is_open(one)),
            )
        )
    return lines


def _verdicts(reviewed: Sequence[human_review.ReviewedPair], reward: str) -> list[str]:
    """Return a sentence for people and one for simulations, each where there is something to say."""
    sentences = []
    for judge, group in ((AnnotatorKind.PERSON, "people"), (AnnotatorKind.SIMULATION, "simulated annotators")):
        agreement = review_agreement.agreement(review_agreement.recent(_opinions(reviewed, {"review_by": judge})))
        if agreement.decided:
            sentences.append(f"In the last reviews {review_agreement.in_words(agreement, group, reward)}.")
    return sentences


def _marks(reviewed: Sequence[human_review.ReviewedPair], config: dict[str, Any]) -> list[Mark]:
    marks = []
    for step in sorted({one.step for one in reviewed}):
        step_pairs = [one for one in reviewed if one.step == step and not one.not_asked]
        verdict = review_agreement.agreement(_opinions(step_pairs, config))
        if step_pairs:
            predicted = sum(one.predicted for one in step_pairs) / len(step_pairs)
            marks.append(Mark(step, predicted, verdict.people, verdict.pairs))
    return marks


def _opinions(reviewed: Iterable[human_review.ReviewedPair], config: dict[str, Any]) -> list[review_agreement.Opinion]:
    """Return the opinions of those that the run listens to."""
    is_people = config.get("review_by", "person") == AnnotatorKind.PERSON
    pairs = ((one, one.people if is_people else one.simulations) for one in reviewed)
    return [review_agreement.Opinion(one.step, one.predicted, share) for one, share in pairs if share is not None]


def _is_open(one: human_review.ReviewedPair) -> bool:
    return not one.not_asked and one.people is None and one.simulations is None


def _percent(values: Sequence[float]) -> str:
    return f"{percent(sum(values) / len(values))} of {len(values)}" if values else "–"


def _agreement(agreement: review_agreement.Agreement) -> str:
    if not agreement.decided:
        return "–"
    low, high = agreement.interval
    return f"{agreement.agreed} of {agreement.decided} [{100 * low:.0f}, {100 * high:.0f}] %"


def _judged_pairs(run: Run, reviewed: Sequence[human_review.ReviewedPair]) -> list[Judged]:
    """Return the latest pairs that somebody has judged. Others are still to be judged blind, by this very reader
    perhaps."""
    shares = ((one.sequence, one.people if one.people is not None else one.simulations) for one in reviewed)
    share_by_sequence = {sequence: share for sequence, share in shares if share is not None}
    rows = run.reviews.filter(sequence__in=share_by_sequence, policy_answer__isnull=False).order_by("-sequence")
    latest = rows.select_related("prompt", "policy_answer", "parent_answer")[:_PAIRS]
    return [Judged(review, _preferred(share_by_sequence[review.sequence])) for review in latest]


def _preferred(share: float) -> str:
    return "undecided" if share == 0.5 else "policy" if share > 0.5 else "parent"
