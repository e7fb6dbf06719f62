"""Register the kinds of run of this app, and what their pages show beside what all pages of runs do."""

from __future__ import annotations

from annotate.models import LanguageModel
from common.proxy_variables import PROXIES
from training.configs.rollout_options import KEY_VARIABLE, URL_VARIABLE
from training.core.kinds import HUB_VARIABLES, KINDS, Kind
from training.core.run_directory import Row
from training.corpora import actions as corpora
from training.models import Run
from training.runs.ordering import reward_order, weight_sources
from training.runs.present import classify_section, ppo_section, pretrain_section, reward_section
from training.runs.present.kind_sections import FORM_SECTIONS, RUN_SECTIONS, FormSection, RunSection

ROLLOUT_VARIABLES = (KEY_VARIABLE, URL_VARIABLE, *PROXIES)


def register() -> None:
    """Call it once, when Django starts."""
    for kind in _kinds():
        KINDS.register(kind)
    RUN_SECTIONS.register(RunSection("classify", classify_section.context))
    RUN_SECTIONS.register(RunSection("classify", classify_section.mistakes_context, "samples"))
    RUN_SECTIONS.register(RunSection("reward", reward_section.context, "charts"))
    RUN_SECTIONS.register(RunSection("corpus", corpora.section))
    RUN_SECTIONS.register(RunSection("ppo", ppo_section.charts_context, "charts"))
    RUN_SECTIONS.register(RunSection("ppo", ppo_section.review_context, "review"))
    FORM_SECTIONS.register(FormSection("pretrain", pretrain_section.form_context))


def _endpoint_parent(run: Run) -> dict[str, LanguageModel]:
    """Return the parent as it stands now, not as it was when this row was read."""
    parent = None if run.parent_id is None else LanguageModel.objects.get(pk=run.parent_id)
    return {"parent": parent} if parent is not None and parent.endpoint else {}


def _kinds() -> list[Kind]:
    """Return the kinds in the order in which refusals name them."""
    return [
        Kind(
            "sample",
            "Sampling",
            "training.recipes.sample",
            dataset_kind="prompts",
            train_split_only=False,
            makes="completions",
            asking_module="training.recipes.sample_endpoint",
            asks=_endpoint_parent,
            needs_weights=lambda model, config: not model.endpoint,
            purpose="A model answers each prompt of a dataset several times, and people annotate the answers.",
        ),
        Kind(
            "corpus",
            "Corpus",
            "training.recipes.corpus",
            parent_kinds=(),
            makes="dataset",
            makes_dataset_kind="corpus",
            variables=lambda config: HUB_VARIABLES if _reads_a_hub(config) else (),
            rows=corpora.rows,
            check=corpora.check,
            purpose="Gathers texts, cleans them by published rules, and reports what was removed and why.",
        ),
        Kind(
            "tokenizer",
            "Tokenizer",
            "training.recipes.tokenizer",
            parent_kinds=(),
            dataset_kind="corpus",
            makes="tokenizer",
            stage="tokenizer",
            purpose="Trains a byte-level BPE tokenizer with a chat template on a corpus.",
        ),
        Kind(
            "pretrain",
            "Pretraining",
            "training.recipes.pretrain",
            parent_kinds=("tokenizer",),
            dataset_kind="corpus",
            makes="policy",
            stage="pretrained",
            purpose="Trains a new model on raw text: next token, masked tokens, missing spans, or a mixture.",
        ),
        Kind(
            "domain",
            "Domain",
            "training.recipes.domain",
            dataset_kind="corpus",
            other_kinds=("corpus",),
            other_purpose="other texts that are mixed in, so that the model forgets less (replay)",
            makes="policy",
            stage="domain",
            purpose="Continues pretraining on texts of one domain, such as the works of an author.",
        ),
        Kind(
            "classify",
            "Classifier",
            "training.recipes.classify",
            parent_kinds=("policy", "encoder"),
            dataset_kind="labelled",
            other_kinds=("labelled",),
            other_purpose="labelled texts to test on; without it, a share of the first dataset is held out",
            makes="classifier",
            stage="classifier",
            purpose="Trains a classifier: a text gets one of a few labels, such as the sentiment of a review.",
        ),
        Kind(
            "sft",
            "SFT",
            "training.recipes.sft",
            dataset_kind="sft",
            makes="policy",
            stage="SFT",
            purpose="Supervised finetuning on demonstrations, best-rated answers, chats and instructions.",
        ),
        Kind(
            "reward",
            "Reward model",
            "training.recipes.reward",
            dataset_kind="preferences",
            makes="reward",
            stage="reward model",
            purpose="Trains a reward model on thumbs, stars and pairs, to score answers as people do.",
        ),
        Kind(
            "ppo",
            "PPO",
            "training.recipes.ppo",
            dataset_kind="prompts",
            other_kinds=("corpus", "sft"),
            other_purpose="texts of an older skill: their held-out loss is shown, and ptx_coef keeps them likely",
            takes_reward_model=True,
            asks=reward_order.asked_judges,
            makes="policy",
            stage="PPO",
            variables=lambda config: ROLLOUT_VARIABLES if config.get("rollout_server") else (),
            purpose="Reinforcement learning: the model answers, a reward model scores, the model moves towards the "
            "score.",
        ),
        Kind(
            "dpo",
            "DPO",
            "training.recipes.dpo",
            dataset_kind="preferences",
            makes="policy",
            stage="DPO",
            purpose="Direct preference optimisation: trains on pairs directly, without a reward model.",
        ),
        Kind(
            "kto",
            "KTO",
            "training.recipes.kto",
            dataset_kind="preferences",
            makes="policy",
            stage="KTO",
            purpose="Kahneman-Tversky optimisation: trains on thumbs directly, without pairs.",
        ),
        Kind(
            "grpo",
            "GRPO",
            "training.recipes.grpo",
            dataset_kind="prompts",
            takes_reward_model=True,
            asks=reward_order.asked_judges,
            makes="policy",
            stage="GRPO",
            purpose="Samples several answers to each prompt, and reinforces those with a score above the group's mean.",
        ),
        Kind(
            "rejection",
            "Rejection sampling",
            "training.recipes.best_of",
            dataset_kind="prompts",
            takes_reward_model=True,
            asks=reward_order.asked_judges,
            makes="dataset",
            makes_dataset_kind="sft",
            purpose="Samples several answers to each prompt and keeps the best by a reward model, as examples for SFT.",
        ),
        Kind(
            "best_of",
            "Best-of-N",
            "training.recipes.best_of",
            dataset_kind="prompts",
            train_split_only=False,
            takes_reward_model=True,
            asks=reward_order.asked_judges,
            makes="completions",
            answers_as_new_policy=True,
            stage="best-of-N",
            purpose="A policy without training: it answers with the best of several answers of a model, by a reward "
            "model.",
        ),
        Kind(
            "import",
            "Import",
            "training.recipes.import_run",
            parent_kinds=(),
            makes="policy",
            stage="base",
            variables=weight_sources.variables,
            rows=weight_sources.rows,
            check=weight_sources.check_import,
            purpose="Imports weights from a hub, a GGUF file or a folder as a model of this site.",
        ),
        Kind(
            "rloo",
            "RLOO",
            "training.recipes.rloo",
            dataset_kind="prompts",
            takes_reward_model=True,
            asks=reward_order.asked_judges,
            makes="policy",
            stage="RLOO",
            purpose="REINFORCE with the other answers to the same prompt as the baseline.",
        ),
    ]


def _reads_a_hub(config: Row) -> bool:
    return any(line.strip().startswith("hub:") for line in str(config.get("sources", "")).splitlines())
