"""The kinds of run there are: which recipe carries one out, what it takes, and what it leaves behind.

Other apps add theirs with `register_kind`; queue, worker and pages then treat it like the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

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
Variables = Callable[["Row"], tuple[str, ...]]
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
PROXIES = (*_PROXIES, *(name.lower() for name in _PROXIES))  # for who leaves this machine: they may hold a password
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
    """`record` writes the outputs, inside the transaction that turns the run to succeeded; None makes nothing.

    `rows` gives the rows of a kind that takes no dataset, by file name; the first attempt freezes them.
    """

    name: str
    title: str
    module: str  # python -m <module> RUN_DIR
    parent_kinds: tuple[str, ...] = ("policy",)  # of LanguageModel.Kind; () starts from no model
    dataset_kind: str = ""  # "" takes no dataset
    other_kinds: tuple[str, ...] = ()  # a second dataset, never required: its files lie in data/other/
    other_purpose: str = ""
    train_side_only: bool = True
    takes_reward_model: bool = False
    needs_reward_model: bool = True  # where it takes one: or a config.reward_function in its place
    compares_with_ancestor: bool = False  # RunSpec.ancestor names the weights that the parent was made from
    sees_training_data: bool = False  # RunSpec.trained_on names the datasets of the parent and its ancestors
    # A LanguageModel.Kind (result.json may name another as "model_kind"), "completions", "dataset" or "" for nothing.
    makes: str = ""
    makes_dataset_kind: str = ""
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

    @property
    def makes_model(self) -> bool:
        return self.makes not in ("", "completions", "dataset")


KINDS: dict[str, Kind] = {}


def _reads_a_hub(config: Row) -> bool:
    return any(line.strip().startswith("hub:") for line in str(config.get("sources", "")).splitlines())


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
        "corpus",
        "Corpus",
        "training.recipes.corpus",
        parent_kinds=(),
        makes="dataset",
        makes_dataset_kind="corpus",
        variables=lambda config: HUB_VARIABLES if _reads_a_hub(config) else (),
        purpose="Gathers texts, cleans them by published rules and says what went and why.",
    )
)
register_kind(
    Kind(
        "tokenizer",
        "Tokenizer",
        "training.recipes.tokenizer",
        parent_kinds=(),
        dataset_kind="corpus",
        makes="tokenizer",
        stage="tokenizer",
        purpose="Learns a byte-level BPE vocabulary from a corpus, with a chat template.",
    )
)
register_kind(
    Kind(
        "pretrain",
        "Pretraining",
        "training.recipes.pretrain",
        parent_kinds=("tokenizer",),
        dataset_kind="corpus",
        makes="policy",
        stage="pretrained",
        purpose="A new model learns from raw text: the next token, masked tokens, missing spans, or a mixture.",
    )
)
register_kind(
    Kind(
        "domain",
        "Domain",
        "training.recipes.domain",
        dataset_kind="corpus",
        other_kinds=("corpus",),
        other_purpose="texts of another kind that are mixed in, so that the model forgets less (replay); none: nothing",
        makes="policy",
        stage="domain",
        purpose="A model goes on learning from the texts of one domain, such as the works of an author.",
    )
)
register_kind(
    Kind(
        "classify",
        "Classifier",
        "training.recipes.classify",
        parent_kinds=("policy", "encoder"),
        dataset_kind="labelled",
        other_kinds=("labelled",),
        other_purpose="labelled texts to test on; none holds out a share of the first",
        makes="classifier",
        stage="classifier",
        purpose="Finetuning for a task: a text gets one of a few labels, such as the sentiment of a review.",
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
        purpose="Supervised finetuning on demonstrations, best-rated answers, chats and instructions.",
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
        other_kinds=("corpus", "sft"),
        other_purpose="texts of an older skill: their held-out loss is shown, and ptx_coef keeps them likely",
        takes_reward_model=True,
        makes="policy",
        stage="PPO",
        purpose="Reinforcement learning: the model answers, a reward model scores, the model moves towards the score.",
    )
)
register_kind(
    Kind(
        "dpo",
        "DPO",
        "training.recipes.dpo",
        dataset_kind="preferences",
        makes="policy",
        stage="DPO",
        purpose="Direct preference optimisation: learns from pairs at once, without a reward model.",
    )
)
register_kind(
    Kind(
        "kto",
        "KTO",
        "training.recipes.kto",
        dataset_kind="preferences",
        makes="policy",
        stage="KTO",
        purpose="Kahneman-Tversky optimisation: learns from thumbs at once, without pairs.",
    )
)
register_kind(
    Kind(
        "grpo",
        "GRPO",
        "training.recipes.grpo",
        dataset_kind="prompts",
        takes_reward_model=True,
        makes="policy",
        stage="GRPO",
        purpose="Several answers to each prompt; each is pushed by how much its score beats the group's mean.",
    )
)
register_kind(
    Kind(
        "rloo",
        "RLOO",
        "training.recipes.rloo",
        dataset_kind="prompts",
        takes_reward_model=True,
        makes="policy",
        stage="RLOO",
        purpose="REINFORCE with the other answers to the same prompt as the baseline.",
    )
)
