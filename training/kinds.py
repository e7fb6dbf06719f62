"""The kinds of run there are: which recipe carries one out, what it takes, and what it leaves behind.

Other apps add theirs with `register_kind`; queue, worker and pages then treat it like the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from training import configs

if TYPE_CHECKING:
    from training.models import Run
    from training.run_directory import Row, RunDirectory

Record = Callable[["Run", "RunDirectory"], None]
Rows = Callable[["Run"], "dict[str, list[Row]]"]


@dataclass(frozen=True)
class Kind:
    """`record` writes the outputs, inside the transaction that turns the run to succeeded; None makes nothing.

    `rows` gives the rows of a kind that takes no dataset, by file name; the first attempt freezes them.
    """

    name: str
    title: str
    module: str  # python -m <module> RUN_DIR
    dataset_kind: str = ""  # "" takes no dataset
    train_side_only: bool = True
    takes_reward_model: bool = False
    makes: str = ""  # "policy", "reward", "completions" or "" for neither
    stage: str = ""  # of the model it makes
    purpose: str = ""
    record: Record | None = None
    rows: Rows | None = None

    @property
    def makes_model(self) -> bool:
        return self.makes in ("policy", "reward")


KINDS: dict[str, Kind] = {}


def register_kind(kind: Kind, config: type | None = None) -> None:
    """Add a kind of run. `config` is its dataclass of hyperparameters, when training.configs does not hold it yet."""
    if config is not None:
        configs.CONFIGS[kind.name] = config
    if kind.name not in configs.CONFIGS:
        raise ValueError(f"The kind {kind.name!r} has no config: give its dataclass to register_kind.")
    KINDS[kind.name] = kind


register_kind(
    Kind(
        "sample",
        "Sampling",
        "training.recipes.sample",
        dataset_kind="prompts",
        train_side_only=False,
        makes="completions",
        purpose="A model answers every prompt of a dataset several times; people then judge the answers.",
    )
)
register_kind(
    Kind(
        "sft",
        "SFT",
        "training.recipes.sft",
        dataset_kind="sft",
        makes="policy",
        stage="SFT",
        purpose="Supervised finetuning on demonstrations and best-rated answers.",
    )
)
register_kind(
    Kind(
        "reward",
        "Reward model",
        "training.recipes.reward",
        dataset_kind="preferences",
        makes="reward",
        stage="reward model",
        purpose="Learns from thumbs, stars and pairs to score an answer as people would.",
    )
)
register_kind(
    Kind(
        "ppo",
        "PPO",
        "training.recipes.ppo",
        dataset_kind="prompts",
        takes_reward_model=True,
        makes="policy",
        stage="PPO",
        purpose="Reinforcement learning: the model answers, a reward model scores, the model moves towards the score.",
    )
)
