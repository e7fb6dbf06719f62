"""Check each condition of a promotion rule: how it stands, on what numbers, and what would settle it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from annotate.models import LanguageModel
from evaluation.core.number_formats import roughly, signed, whole
from evaluation.leaderboard.pairwise import PairDifference, pair_difference
from evaluation.models import Candidacy, PromotionRule
from evaluation.promotion.tolerances import Change, change_of, in_points, in_words
from evaluation.registry.ancestry import parent_of

MET, NOT_YET, BROKEN = "met", "not yet", "broken"


@dataclass(frozen=True)
class Check:
    """Hold one check of a rule. `state` is met, not yet or broken. `more` says in words what evidence would decide it;
    empty when it is."""

    name: str
    title: str
    state: str
    sentence: str
    more: str = ""
    numbers: dict[str, Any] = field(default_factory=dict)

    @property
    def found(self) -> str:
        """Return what was found, without the verdict on it."""
        return self.sentence.rpartition(": ")[0] or self.sentence.rstrip(".")


@dataclass(frozen=True)
class Standing:
    """All checks of a candidate at a moment."""

    checks: tuple[Check, ...]

    @property
    def state(self) -> str:
        """Return the state of a candidacy: one broken check decides, and only all met make it ready."""
        states = {check.state for check in self.checks}
        if BROKEN in states:
            return Candidacy.State.REFUSED
        return Candidacy.State.READY if states == {MET} else Candidacy.State.OPEN

    def as_json(self) -> list[dict[str, Any]]:
        return [asdict(check) for check in self.checks]


def from_json(rows: list[dict[str, Any]]) -> list[Check]:
    return [Check(**row) for row in rows]


def check(
    candidacy: Candidacy, rule: PromotionRule, champion: LanguageModel | None, *, are_votes_kept: bool = False
) -> Standing:
    """Return every check of the rule.

    With `are_votes_kept`, no vote was taken away since the last look: what a sequence had decided then may be said for
    good (Ville's inequality bounds the chance that it ever errs), however the next votes fall.
    """
    before = {row["name"]: Check(**row) for row in candidacy.evidence.get("checks", [])} if are_votes_kept else {}
    checks = [_keep_decided(each, before, rule) for each in _checks(candidacy, rule, champion)]
    return Standing(tuple(checks))


def _checks(candidacy: Candidacy, rule: PromotionRule, champion: LanguageModel | None) -> Iterator[Check]:
    model, parent = candidacy.model, parent_of(candidacy.model)
    if candidacy.state != Candidacy.State.PROMOTED and _is_out(candidacy):
        sentence = f"{model} is not in the arena."
        yield Check("arena", "In the arena", NOT_YET, sentence, "Enter it in the arena again.")
    if parent is None and champion is None:
        yield Check(
            "parent",
            "Better than its parent",
            NOT_YET,
            f"{model} has no parent that answers, and there is no default model to compare with.",
            "A manager can promote it by hand.",
        )
        return
    first = True
    for name, title, other in _opponents(rule, model, parent, champion):
        difference = pair_difference(candidacy.project, rule, model, other)
        yield _better(name, title, rule, other, difference)
        if first and rule.fewest_votes:
            yield _enough(rule, other, difference)
        first = False
    earlier = parent or champion  # without a parent what is served stands for it
    if earlier is not None and earlier != model:
        for tolerance in rule.tolerances:
            yield _tolerated(tolerance, earlier, change_of(candidacy.project, model, earlier, tolerance))


def _is_out(candidacy: Candidacy) -> bool:
    return not candidacy.model.contests.filter(project=candidacy.project, left_at=None).exists()


def _opponents(
    rule: PromotionRule, model: LanguageModel, parent: LanguageModel | None, champion: LanguageModel | None
) -> Iterator[tuple[str, str, LanguageModel]]:
    if parent is not None:
        yield "parent", "Better than its parent", parent
    if champion is not None and champion not in (parent, model) and (rule.beats_champion or parent is None):
        yield "champion", "Better than the default model", champion


def _better(
    name: str, title: str, rule: PromotionRule, other: LanguageModel, difference: PairDifference | None
) -> Check:
    if difference is None:
        return Check(name, title, NOT_YET, f"There are no votes between it and {other} yet.", _how_to_get_votes(other))
    text = (
        f"{_distance(difference, other)}, between {_bound(difference.lower)} and {_bound(difference.upper)}, "
        f"by {_votes(difference.votes)}"
    )
    margin_text = f"{signed(rule.margin)} points" if rule.margin else "0"
    numbers = {**difference.finite(), "margin": rule.margin, "other": other.pk}
    if difference.lower > rule.margin:
        return Check(name, title, MET, f"{text}: above {margin_text} beyond doubt.", "", numbers)
    if difference.upper < rule.margin:
        return Check(name, title, BROKEN, f"{text}: below {margin_text} beyond doubt.", "", numbers)
    return Check(
        name,
        title,
        NOT_YET,
        f"{text}: it can be above or below {margin_text}.",
        _more(difference, other, rule),
        numbers,
    )


def _enough(rule: PromotionRule, other: LanguageModel, difference: PairDifference | None) -> Check:
    cast, fewest = difference.votes if difference else 0, rule.fewest_votes
    text = f"{cast:,} of at least {fewest:,} votes against {other}."
    numbers = {"votes": cast, "wanted": fewest}
    if cast >= fewest:
        return Check("votes", "Votes enough", MET, text, "", numbers)
    more = f"{fewest - cast:,} more {'vote' if fewest - cast == 1 else 'votes'} against {other}"
    return Check("votes", "Votes enough", NOT_YET, text, f"{more}.", numbers)


def _tolerated(tolerance: dict[str, Any], earlier: LanguageModel, change: Change) -> Check:
    """Return the check of a tolerance. `gain` is the change with its sign so that more is better, whatever the
    metric."""
    name = f"tolerance:{tolerance['task']}:{tolerance['metric']}"
    title = in_words(tolerance)
    if change.gain is None or change.lower is None or change.upper is None:
        return Check(name, title, NOT_YET, change.problem, change.remedy, {"worst": tolerance["worst"]})
    if change.is_two_sided:
        return _near(name, title, float(tolerance["worst"]), earlier, change)
    worst = -abs(float(tolerance["worst"]))
    numbers = {"gain": change.gain, "lower": change.lower, "upper": change.upper, "n": change.n, "worst": -worst}
    scale = 100 if change.is_share else 1  # the unit is told once, of the change
    bounds = f"between {_worded(scale * change.lower)} and {_worded(scale * change.upper)}"
    text = f"{_compared(change, earlier)}, {bounds}, on {change.n:,} items"
    if change.lower >= worst:
        return Check(name, title, MET, f"{text}: within the limit beyond doubt.", "", numbers)
    if change.upper < worst:
        return Check(name, title, BROKEN, f"{text}: beyond the limit beyond doubt.", "", numbers)
    return Check(name, title, NOT_YET, f"{text}: it can be beyond the limit.", _more_items(change, worst), numbers)


def _near(name: str, title: str, worst: float, earlier: LanguageModel, change: Change) -> Check:
    """Return the check of what may move neither way by more than `worst`."""
    assert change.gain is not None and change.lower is not None and change.upper is not None
    numbers = {"change": change.gain, "lower": change.lower, "upper": change.upper, "n": change.n, "worst": worst}
    text = (
        f"{_signed(change.gain)} against {earlier}, between {_signed(change.lower)} and {_signed(change.upper)}, "
        f"on {change.n:,} items"
    )
    if -worst <= change.lower and change.upper <= worst:
        return Check(name, title, MET, f"{text}: within the limit beyond doubt.", "", numbers)
    if change.upper < -worst or worst < change.lower:
        return Check(name, title, BROKEN, f"{text}: beyond the limit beyond doubt.", "", numbers)
    more = _more_items(replace(change, gain=-abs(change.gain), lower=-abs(change.gain) - _reach(change)), -worst)
    return Check(name, title, NOT_YET, f"{text}: it can be beyond the limit.", more, numbers)


def _reach(change: Change) -> float:
    """Return half the width of its interval."""
    assert change.lower is not None and change.upper is not None
    return (change.upper - change.lower) / 2


def _signed(value: float) -> str:
    return f"{value:+.3g}".replace("-", "−") if value else "no change"


def _worded(gain: float) -> str:
    """Return −0.0269 as 0.0269 worse: where less is better, a sign alone would mislead."""
    return f"{_plain(abs(gain))} {'better' if gain > 0 else 'worse'}" if gain else "no change"


def _keep_decided(check: Check, before: dict[str, Check], rule: PromotionRule) -> Check:
    """Return the check, decided as at an earlier look: what a sequence decided stays decided."""
    earlier = before.get(check.name)
    is_sequence = rule.always_valid and check.name in ("parent", "champion")
    if not is_sequence or earlier is None or check.state != NOT_YET or earlier.state == NOT_YET:
        return check
    if earlier.numbers.get("other") != check.numbers.get("other"):
        return check
    since = int(earlier.numbers.get("decided_at") or earlier.numbers["votes"])
    text = f"{check.found}. It was decided at {_votes(since)}; a confidence sequence stays valid after every vote."
    return Check(check.name, check.title, earlier.state, text, "", {**check.numbers, "decided_at": since})


def _more(difference: PairDifference, other: LanguageModel, rule: PromotionRule) -> str:
    if difference.unbounded:
        return difference.unbounded
    if difference.more is None:
        return f"With the current votes, no number of votes would show that it is better than {other}."
    votes = "vote" if difference.more == 1 else "votes"
    text = f"About {roughly(difference.more)} more {votes} against {other} decide it on the leaderboard"
    if difference.more == 0:
        text = f"The leaderboard has decided it against {other}"
    takes_more = {
        "a confidence sequence needs about two and a half times as many votes": rule.always_valid,
        f"the margin of {signed(rule.margin)} points needs more": rule.margin > 0,
    }
    return "; ".join([text, *(reason for reason, applies in takes_more.items() if applies)]) + "."


def _how_to_get_votes(other: LanguageModel) -> str:
    if other.retired_at is not None:
        return f"{other} is retired and has no new battles: bring it back, or promote by hand."
    return "Arena votes between the two."


def _more_items(change: Change, worst: float) -> str:
    """Return about how many items settle it: the interval shrinks with the root of their number."""
    assert change.gain is not None and change.lower is not None
    room = change.gain - worst
    if room <= 0:
        return "With the current figures, no number of items would show that it is within the limit."
    more = change.n * (((change.gain - change.lower) / room) ** 2 - 1)
    return f"About {roughly(max(more, 1))} more items, if the change stays the same."


def _distance(difference: PairDifference, other: LanguageModel) -> str:
    if not math.isfinite(difference.difference):
        return f"{'Won' if difference.difference > 0 else 'Lost'} every vote against {other}"
    return f"{whole(abs(difference.difference))} points {'above' if difference.difference >= 0 else 'below'} {other}"


def _compared(change: Change, earlier: LanguageModel) -> str:
    if not change.gain:
        return f"As good as {earlier}"
    by = in_points(abs(change.gain)) if change.is_share else _plain(abs(change.gain))
    return f"{'Better' if change.gain > 0 else 'Worse'} by {by} than {earlier}"


def _votes(n: int) -> str:
    return f"{n:,} vote{'' if n == 1 else 's'}"


def _bound(value: float) -> str:
    return signed(value) if math.isfinite(value) else ("no lower bound" if value < 0 else "no upper bound")


def _plain(value: float) -> str:
    return f"{float(value):.3g}"
