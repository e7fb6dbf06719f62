"""The kinds of run there are: which recipe carries one out, what it takes, and what it leaves behind.

`training/run_kinds.py` and `evaluation/kinds.py` register them with `KINDS`; queue, worker and pages treat all alike.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from annotate.core.hooks import Hook
from common.proxy_variables import PROXIES
from training import configs

if TYPE_CHECKING:
    from annotate.models import Dataset, LanguageModel, Project
    from training.core.run_directory import Row, RunDirectory
    from training.models import Run

Record = Callable[["Run", "RunDirectory"], None]
Rows = Callable[["Run"], "dict[str, list[Row]]"]
Check = Callable[["Project", Any], dict[str, str]]
Fits = Callable[["LanguageModel", Any], dict[str, str]]
Suits = Callable[["Order"], dict[str, str]]
Asks = Callable[["Run"], "dict[str, LanguageModel]"]
NeedsWeights = Callable[["LanguageModel", "Row"], bool]
Variables = Callable[["Row"], tuple[str, ...]]
HUB_VARIABLES = ("HF_TOKEN", *PROXIES)


@dataclass(frozen=True)
class Order:
    """A run that is about to be queued, as far as it is known; the config is valid by itself."""

    project: Project
    parent: LanguageModel | None
    dataset: Dataset | None
    other_dataset: Dataset | None
    reward_model: LanguageModel | None
    config: Any


@dataclass(frozen=True)
class Kind:
    """Describe a kind of run. `record` writes the outputs, inside the transaction that turns the run to succeeded; None
    makes nothing.

    `rows` gives the rows of a kind that takes no dataset, by file name; the first attempt freezes them.
    """

    name: str
    title: str
    module: str  # python -m <module> RUN_DIR
    parent_kinds: tuple[str, ...] = ("policy",)  # of LanguageModel.Kind; () starts from no model
    dataset_kind: str = ""  # "" takes no dataset
    other_kinds: tuple[str, ...] = ()  # a second dataset, never required: its files lie in data/other/
    other_purpose: str = ""
    train_split_only: bool = True
    takes_reward_model: bool = False
    needs_reward_model: bool = True  # where it takes one: or a config.reward_function in its place
    compares_with_ancestor: bool = False  # RunSpec.ancestor names the weights that the parent was made from
    sees_training_data: bool = False  # RunSpec.trained_on names the datasets of the parent and its ancestors
    # A LanguageModel.Kind (result.json may name another as "model_kind"), "completions", "dataset" or "" for nothing.
    makes: str = ""
    makes_dataset_kind: str = ""
    answers_as_new_policy: bool = False  # its completions are those of a new policy, which has no weights of its own
    stage: str = ""  # of the model it makes
    purpose: str = ""
    record: Record | None = None
    rows: Rows | None = None
    # What only the site can tell of a config that is valid by itself: {option: what is wrong and what would be right}.
    check: Check | None = None
    # Whether a config suits the model that it starts from; likewise.
    fits: Fits | None = None
    # What only the order as a whole tells, by field of the order: how its model, its datasets and its config agree.
    suits: Suits | None = None
    # The variables of the worker that a recipe with this config cannot do without, beside those that all are given.
    variables: Variables | None = None
    # The models that a run asks over the network, by role: the recipe gets their addresses in `RunSpec.endpoints`, and
    # their keys by `run_secrets`.
    asks: Asks | None = None
    # Whether a run of a model with this config reads its weights; None: always.
    needs_weights: NeedsWeights | None = None
    # The recipe where the parent is asked; "": the same.
    asking_module: str = ""

    def __post_init__(self) -> None:
        if self.name not in configs.CONFIGS:
            raise ValueError(f"The kind {self.name!r} has no config: give its dataclass to training.configs.CONFIGS.")

    def asked_models(self, run: Run) -> dict[str, LanguageModel]:
        return self.asks(run) if self.asks is not None else {}

    def reads_weights(self, model: LanguageModel, config: Row) -> bool:
        return self.needs_weights is None or self.needs_weights(model, config)

    def module_of(self, run: Run) -> str:
        return self.asking_module if self.asking_module and "parent" in self.asked_models(run) else self.module

    @property
    def makes_model(self) -> bool:
        return self.makes not in ("", "completions", "dataset")

    @property
    def names_model(self) -> bool:
        """Return whether a run's name is that of a new model, with weights or without."""
        return self.makes_model or self.answers_as_new_policy


KINDS: Hook[Kind] = Hook(
    "kinds of run",
    "Each kind of run by its name; queue, worker, pages and API treat all alike.",
    key=lambda kind: kind.name,
)


def kind_title(run: Run) -> str:
    """Return what a run's kind is called: its name, where nobody registers the kind any more."""
    return KINDS[run.kind].title if run.kind in KINDS else run.kind
