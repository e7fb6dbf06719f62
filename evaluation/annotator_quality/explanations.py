"""Write an annotator's figures as sentences: what was counted, what it is compared with, and what chance would
explain."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from evaluation.annotator_quality.annotator_measures import Measure
from evaluation.annotator_quality.findings import AnnotatorFigures
from evaluation.core.number_formats import p_value, percent
from evaluation.metrics.agreement import Alpha
from evaluation.metrics.careless_annotators import PROMISE
from evaluation.metrics.span_agreement import FEWEST_MARKED, MarkAgreement

TITLES = {
    "gold": "Gold items",
    "others": "Agrees with most others",
    "in_step": "Stars in step with others",
    "marks": "Agrees with others on spans",
    "itself": "Same answer again",
    "first": "First answer chosen",
    "stuck": "Same position won twice",
    "longer": "Longer answer chosen",
    "severity": "Severity",
    "seconds": "Seconds per item",
    "pace": "Seconds per 100 words",
    "hasty": "Too fast to have read",
    "same": "Most frequent answer",
}
REASONS = {
    "gold": "misses as many gold items as blind annotation",
    "others": "agrees with others hardly more than blind annotation",
    "ratings": "stars do not follow the others’",
    "itself": "gives other answers to repeated items",
    "side": "prefers one position",
    "same": "gives one answer nearly always",
    "hasty": "too fast to have read",
}
PROMISED = percent(PROMISE)


@dataclass(frozen=True)
class Voice:
    """Say who is spoken of: "Anna takes", or "You take"."""

    name: str
    is_own: bool = False

    def does(self, verb: str, third: str = "") -> str:
        return f"You {verb}" if self.is_own else f"{self.name} {third or verb + 's'}"

    @property
    def whose(self) -> str:
        return "your" if self.is_own else "their"


@dataclass(frozen=True)
class Sentence:
    """Hold a sentence on one figure. `is_beyond_chance` where the test says so after Holm's correction, at 5 %."""

    name: str
    title: str
    text: str
    measure: Measure
    is_beyond_chance: bool = False


def sentences(figures: AnnotatorFigures, *, is_own: bool = False) -> list[Sentence]:
    voice = Voice(figures.name, is_own)
    return [
        Sentence(name, TITLES[name], _SAID[name](voice, measure, figures), measure, _is_beyond(measure))
        for name, measure in figures.measures.items()
        if name in _SAID
    ]


def reasons(figures: AnnotatorFigures) -> list[str]:
    return [REASONS[kind] for kind in figures.evidence.reasons] if figures.is_flagged else []


def _is_beyond(measure: Measure) -> bool:
    return measure.p_among is not None and measure.p_among < 0.05


def share(measure: Measure) -> str:
    """Return 62 % [54, 70]."""
    return f"{percent(measure.value)} {ends(measure, 100, 0)}".strip()


def ends(measure: Measure, scale: float = 1, digits: int = 2) -> str:
    if measure.lower is None or measure.upper is None:
        return ""
    return f"[{_number(measure.lower * scale, digits)}, {_number(measure.upper * scale, digits)}]"


def _number(value: float, digits: int) -> str:
    text = f"{value:.{digits}f}"
    return "0" if not float(text) and not digits else text.replace("-", "−")


def _figure(measure: Measure, digits: int = 2, form: Callable[[float, int], str] | None = None) -> str:
    """Return the number with its interval, where it has one."""
    return f"{(form or _number)(measure.value, digits)} {ends(measure, 1, digits)}".strip()


def _of(measure: Measure) -> str:
    return f"{measure.hits:,} of {measure.n:,}"


def _p(measure: Measure) -> str:
    if measure.p is None:
        return ""
    among_all = "" if measure.p_among is None else f", {p_value(measure.p_among)} among all annotators here"
    return f"p = {p_value(measure.p)}{among_all}".replace("= below", "below")


def _chance(measure: Measure) -> str:
    if measure.p is None:
        return ""
    verdict = "more than chance explains" if _is_beyond(measure) else "within what chance explains"
    return f" That is {verdict} ({_p(measure)})."


def _gold(voice: Voice, m: Measure, annotator_figures: AnnotatorFigures) -> str:
    others = "" if m.beside is None else f"; the others in {percent(m.beside)}"
    return f"{voice.does('give')} the known answer in {share(m)} of the gold items ({_of(m)}){others}."


def _others(voice: Voice, m: Measure, annotator_figures: AnnotatorFigures) -> str:
    blind = "" if m.beside is None else f" Blind choices would in {percent(m.beside)}."
    chooses = voice.does("choose").replace("You", "you")
    return f"Where {chooses} at all, it is what most others chose in {share(m)} ({_of(m)}).{blind}"


def _in_step(voice: Voice, m: Measure, annotator_figures: AnnotatorFigures) -> str:
    possessive = "Your" if voice.is_own else f"{voice.name}’s"
    return (
        f"{possessive} ratings rise and fall with the others’ by a correlation of {_figure(m)}, "
        f"over {m.n:,} answers; 0 means blind ratings; severity does not matter."
    )


def _marks(voice: Voice, m: Measure, annotator_figures: AnnotatorFigures) -> str:
    others = "" if m.beside is None else f"; among the others, {percent(m.beside)}"
    possessive = "your" if voice.is_own else f"{voice.name}’s"
    return (
        f"Of {possessive} marked spans and the others’ in the same answers, {share(m)} overlap with the same label "
        f"(F1, over {m.n:,} answer{'' if m.n == 1 else 's'} marked by either){others}."
    )


def _itself(voice: Voice, m: Measure, annotator_figures: AnnotatorFigures) -> str:
    blind = "" if m.beside is None else f"; blind choices would in {percent(m.beside)}"
    return (
        f"Shown the same two answers again with swapped positions, {voice.does('say', 'says').replace('You', 'you')} "
        f"the same in {share(m)} ({_of(m)}){blind}."
    )


def _first(voice: Voice, m: Measure, annotator_figures: AnnotatorFigures) -> str:
    return (
        f"{voice.does('take')} the first answer in {share(m)} of the comparisons with a winner ({_of(m)}); "
        f"50 is even.{_chance(m)}"
    )


def _stuck(voice: Voice, m: Measure, annotator_figures: AnnotatorFigures) -> str:
    return (
        f"When positions were swapped and the same position won again, it was the first in {_of(m)}: {share(m)}; "
        f"50 is even.{_chance(m)}"
    )


def _longer(voice: Voice, m: Measure, annotator_figures: AnnotatorFigures) -> str:
    comparison = "" if m.beside is None else f"; the others in {percent(m.beside)} of the same items"
    return f"{voice.does('take')} the longer answer in {share(m)} ({_of(m)}){comparison}.{_chance(m)}"


def _severity(voice: Voice, m: Measure, annotator_figures: AnnotatorFigures) -> str:
    size = abs(m.value)
    direction = "less" if m.value < 0 else "more"
    shrunk = annotator_figures.measures.get("shrunk")
    likely = "" if shrunk is None else f" Allowing for chance: {_figure(shrunk, form=_signed)}."
    return (
        f"{voice.does('give')} {size:.2f} steps of five {direction} than the others for the same answers "
        f"({_figure(m, form=_signed)}, over {m.n:,}).{_chance(m)}{likely}"
    )


def _signed(value: float, digits: int = 2) -> str:
    return f"{value:+.{digits}f}".replace("-", "−")


def _seconds(voice: Voice, m: Measure, annotator_figures: AnnotatorFigures) -> str:
    others = "" if m.beside is None else f"; for all annotators it is {_number(m.beside, 1)}"
    needs = f"{voice.does('need')} {_figure(m, 1)} seconds per item"
    return f"{needs} (the median of {m.n:,}){others}."


def _pace(voice: Voice, m: Measure, annotator_figures: AnnotatorFigures) -> str:
    return f"Per 100 words this is {_figure(m, 1)} seconds (a word counted as six characters)."


def _hasty(voice: Voice, m: Measure, annotator_figures: AnnotatorFigures) -> str:
    return (
        f"{_of(m)} annotations came within a second, or faster than a hundred characters a second: {share(m)}. "
        f"Nobody reads this fast; up to {percent(m.beside or 0)} is normal."
    )


def _same(voice: Voice, m: Measure, annotator_figures: AnnotatorFigures) -> str:
    others = "" if m.beside is None else f"; the others give it in {percent(m.beside)}"
    return f"The most frequent answer is “{annotator_figures.answer}”: {share(m)} ({_of(m)}){others}."


_SAID: dict[str, Callable[[Voice, Measure, AnnotatorFigures], str]] = {
    "gold": _gold,
    "others": _others,
    "in_step": _in_step,
    "marks": _marks,
    "itself": _itself,
    "first": _first,
    "stuck": _stuck,
    "longer": _longer,
    "severity": _severity,
    "seconds": _seconds,
    "pace": _pace,
    "hasty": _hasty,
    "same": _same,
}


def of_alpha(alpha: Alpha) -> str:
    """Return what an alpha means, by Krippendorff's own marks (2004, p. 241), read from the interval's lower end."""
    if alpha.value is None:
        return alpha.note
    if alpha.lower is None or alpha.upper is None:
        return alpha.note
    if alpha.upper < 0:
        return "Annotators disagree more than by chance: some may use the scale in the opposite direction."
    return _verdict(alpha.lower, alpha.upper, "preferences differ, or the guidelines are not clear")


def _verdict(lower: float, upper: float, reason: str) -> str:
    if lower >= 0.8:
        return "Reliable: annotators are interchangeable."
    if lower >= 0.667:
        return "Good enough for tentative conclusions."
    if lower <= 0:
        return "Not different from chance yet."
    if upper < 0.667:
        return f"Only better than chance: {reason}."
    return "Better than chance; more annotations will show how much."


def of_marks(agreement_: MarkAgreement) -> str:
    """Return the verdict by the characters, as an alpha of any scale, and where the two F1 lie apart by that, too."""
    alpha, exact, overlapping = agreement_.alpha, agreement_.exact, agreement_.overlapping
    if not agreement_.texts:
        return "No two annotators have read the same answer with this label yet."
    if not agreement_.marked:
        return "Nobody marked anything in answers that two annotators read."
    if alpha.value is None:
        return "Everybody marked everything, so agreement cannot be measured."
    if agreement_.marked < FEWEST_MARKED:
        return f"{FEWEST_MARKED} answers with a mark are needed for intervals."
    if alpha.lower is None or alpha.upper is None:
        return "All answers are alike, so there is no interval."
    if alpha.upper < 0:
        return "Annotators agree less than by chance: the label may mean different things to them."
    verdict = _verdict(alpha.lower, alpha.upper, "the definition may not be clear")
    if exact.upper is not None and overlapping.lower is not None and exact.upper < overlapping.lower - 0.2:
        verdict += " They mark the same places, but with different starts and ends."
    return verdict
