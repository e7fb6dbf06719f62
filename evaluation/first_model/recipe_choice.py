"""Propose a recipe from what was annotated, and say why. Pure: no Django.

| proposed | when | the threshold comes from |
|---|---|---|
| reward model, then PPO | `preferences.ENOUGH` annotations that tell one answer from another, on `ENOUGH_PROMPTS` prompts | measured: benchmarks/reward_learning_curve.py |
| DPO | `PAIRS` comparisons with a winner, and more of them than thumbs that can be set against each other | the recipe's `FEWEST_PAIRS` |
| KTO | `THUMBS_OF_EACH` thumbs up and as many down | the recipe's `FEWEST_OF_EACH` |
| SFT | `EXAMPLES` written or best-rated answers | the recipe holds nothing out below it |

The recipes hold back a tenth of the prompts to measure on, and a prompt may bear several annotations: so half as many
again as they need to train on are asked for here.
"""  # noqa: E501

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from annotate.data.datasets.preferences import ENOUGH, ENOUGH_PROMPTS
from training.configs.preference import FEWEST_OF_EACH, FEWEST_PAIRS

PAIRS = FEWEST_PAIRS * 3 // 2
THUMBS_OF_EACH = FEWEST_OF_EACH * 3 // 2
EXAMPLES = 10
PPO, DPO, KTO, SFT = KINDS = ("ppo", "dpo", "kto", "sft")
TITLES = {PPO: "Reward model, then PPO", DPO: "DPO", KTO: "KTO", SFT: "SFT"}


@dataclass(frozen=True)
class Annotated:
    """Counted annotations of the train split, by one kind of annotator. `informative` are those that tell one answer
    from another, on `prompts_informative` prompts (`preferences.informativeness`); `examples` are what SFT would
    imitate."""

    pairs: int = 0
    ties: int = 0
    thumbs_up: int = 0
    thumbs_down: int = 0
    stars: int = 0
    demonstrations: int = 0
    informative: int = 0
    prompts_informative: int = 0
    examples: int = 0

    @property
    def total(self) -> int:
        return self.pairs + self.ties + self.thumbs_up + self.thumbs_down + self.stars + self.demonstrations

    @property
    def opposed_thumbs(self) -> int:
        """Return how many thumbs have one of the other kind to be set against."""
        return 2 * min(self.thumbs_up, self.thumbs_down)


@dataclass(frozen=True)
class Option:
    """`reason` says why it can be trained, or what is missing."""

    kind: str
    is_possible: bool
    reason: str

    @property
    def title(self) -> str:
        return TITLES[self.kind]


@dataclass(frozen=True)
class Choice:
    """`proposed` is None while nothing can be trained; `further` says what more annotations would allow, and
    `instead_of_ppo` why another recipe is proposed, "" where PPO is, or none."""

    options: tuple[Option, ...]
    proposed: Option | None
    further: str
    instead_of_ppo: str = ""

    def option(self, kind: str) -> Option | None:
        return next((option for option in self.options if option.kind == kind), None)


def choose(annotated: Annotated, *, reward_is_refused: bool = False, refused_at: int = 0) -> Choice:
    """Return every recipe with its reason, and the one that is proposed. `reward_is_refused`: a reward model of these
    annotations did not beat chance, so that PPO would learn noise. It had `refused_at` informative ones, 0 where nobody
    knows."""
    options = (_ppo(annotated, reward_is_refused), _dpo(annotated), _kto(annotated), _sft(annotated))
    proposed = _proposed(annotated, [option for option in options if option.kind != PPO or not reward_is_refused])
    lacking = _lacking(annotated)
    further = f"With {lacking}, a reward model and PPO become possible." if lacking else ""
    why = ""
    if proposed is not None and proposed.kind != PPO:
        why = _instead_of_ppo(proposed, lacking, 2 * refused_at - annotated.informative)
    return Choice(options, proposed, further, why)


def _instead_of_ppo(proposed: Option, lacking: str, until_tried_again: int) -> str:
    if lacking:
        return f"PPO needs {lacking}, so {proposed.title} is proposed."
    again = ""
    if until_tried_again > 0:
        again = f" PPO is proposed again after {_more_informative(until_tried_again)}."
    so = f"{proposed.title} is proposed instead."
    return f"The last reward model was not better than chance, so PPO would learn noise. {so}{again}"


def _proposed(annotated: Annotated, options: Iterable[Option]) -> Option | None:
    order = [PPO, DPO, KTO, SFT]
    if annotated.opposed_thumbs > annotated.pairs:
        order = [PPO, KTO, DPO, SFT]
    possible = {option.kind: option for option in options if option.is_possible}
    return next((possible[kind] for kind in order if kind in possible), None)


def _ppo(annotated: Annotated, is_refused: bool) -> Option:
    n, prompts = annotated.informative, annotated.prompts_informative
    if n >= ENOUGH and prompts >= ENOUGH_PROMPTS:
        if is_refused:
            return Option(
                PPO, True, "The last reward model was not better than chance; annotate more, then train another one."
            )
        reason = (
            f"{n:,} annotations separate answers, on {prompts:,} prompts: enough for a reward model. PPO can improve "
            "beyond the annotated answers. It takes longest."
        )
        return Option(PPO, True, reason)
    return Option(
        PPO,
        False,
        f"A reward model needs {ENOUGH} annotations that separate answers, on {ENOUGH_PROMPTS} prompts; "
        f"there {_are(n)}, on {prompts:,}.",
    )


def _dpo(annotated: Annotated) -> Option:
    n = annotated.pairs
    if n >= PAIRS:
        return Option(DPO, True, f"{n:,} comparisons have a winner, and DPO learns from pairs without a reward model.")
    return Option(DPO, False, f"DPO needs {PAIRS} comparisons with a winner; there {_are(n)}.")


def _kto(annotated: Annotated) -> Option:
    up, down = annotated.thumbs_up, annotated.thumbs_down
    if min(up, down) >= THUMBS_OF_EACH:
        reason = f"There are {up:,} thumbs up and {down:,} down, and KTO learns from thumbs without pairs."
        if annotated.opposed_thumbs > annotated.pairs >= PAIRS:
            reason += " They form more pairs than the comparisons do."
        return Option(KTO, True, reason)
    return Option(
        KTO, False, f"KTO needs {THUMBS_OF_EACH} thumbs up and {THUMBS_OF_EACH} down; there are {up:,} and {down:,}."
    )


def _sft(annotated: Annotated) -> Option:
    n = annotated.examples
    if n >= EXAMPLES:
        return Option(SFT, True, f"{n:,} written or best-rated answers can be imitated. SFT does not use bad answers.")
    return Option(SFT, False, f"SFT needs {EXAMPLES} written or best-rated answers to imitate; there {_are(n)}.")


def _are(n: int) -> str:
    return "is 1" if n == 1 else f"are {n:,}"


def _lacking(annotated: Annotated) -> str:
    """Return what a reward model and PPO lack; "" where there is enough."""
    wanted = []
    if (more := ENOUGH - annotated.informative) > 0:
        wanted.append(_more_informative(more))
    if (prompts := ENOUGH_PROMPTS - annotated.prompts_informative) > 0:
        wanted.append(f"{prompts} more prompt{'' if prompts == 1 else 's'} on which they differ")
    return " and ".join(wanted)


def _more_informative(n: int) -> str:
    return f"{n:,} more {'annotation that separates' if n == 1 else 'annotations that separate'} answers"
