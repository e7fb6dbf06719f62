"""Say what memory the runs of a round take: the reward model that it fits, and the model that it trains."""

from __future__ import annotations

from collections.abc import Iterator

from evaluation.experiments.arm_methods import METHODS
from evaluation.models import RoundSeries
from evaluation.rounds.round_order import NEWEST
from training import configs
from training.core.kinds import KINDS
from training.runs.ordering.memory_fit import counted_memory


def memory_in_words(series: RoundSeries) -> list[str]:
    """Return a sentence for each kind of run whose memory can be counted. All rounds start from models of one size; the
    last one's reward model has the most annotations to learn from, and from some number on it is finetuned, too."""
    return list(_sentences(series))


def _sentences(series: RoundSeries) -> Iterator[str]:
    method, plan = METHODS[series.plan["arm"]["method"]], series.plan
    most = plan["judgements"] * (1 if plan["older"] == NEWEST else plan["rounds"])
    orders = [("reward", plan["reward_config"])] if method.needs_reward else []
    for kind, config in (*orders, (method.kind, plan["arm"]["config"])):
        counted = counted_memory(kind, vars(configs.parse_valid(kind, config)), series.parent, most)
        if counted is not None:
            yield f"{KINDS[kind].title}: {counted.total / 1e9:.2g} GB at its peak, {counted.basis}. {counted.advice}"
