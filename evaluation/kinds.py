"""The kinds of run that measure, and the figures that are written when they end."""

from __future__ import annotations

import dataclasses

from common.proxy_variables import PROXIES
from evaluation.judge_models import verdict_items, verdict_recording
from evaluation.measures import catalogue as measures
from evaluation.measures import eval_rows as item_rows
from evaluation.measures import over_optimisation_panel, recording
from evaluation.measures.present import run_figures as evaluate_page
from evaluation.measures.present import surprise_charts
from evaluation.registry import export_files, step_ratings
from training.configs import CONFIGS
from training.configs.evaluate import KEY_VARIABLE, URL_VARIABLE
from training.core.kinds import HUB_VARIABLES, KINDS, Kind
from training.core.run_directory import Row
from training.runs.ordering import hub_access as hubs
from training.runs.present.kind_sections import RUN_SECTIONS, RunSection


def variables_of_measure(config: Row) -> tuple[str, ...]:
    """Return the variables of a measure. A judge behind an endpoint: its key and the address that the key is for. Tasks
    by name: the way to the hub."""
    if config.get("measure") == "choices" and config.get("suite", "assay") != "assay":
        return PROXIES
    if config.get("measure") != "win_rate" or config.get("judged_by") != "endpoint":
        return ()
    key = str(config.get("judge_key_variable", ""))
    if not key.startswith(KEY_VARIABLE):
        return PROXIES
    return (key, URL_VARIABLE + key.removeprefix(KEY_VARIABLE), *PROXIES)


def register() -> None:
    RUN_SECTIONS.register(RunSection("evaluate", evaluate_page.context))
    RUN_SECTIONS.register(RunSection("surprise", surprise_charts.context))
    RUN_SECTIONS.register(RunSection("export", export_files.context))
    RUN_SECTIONS.register(RunSection("ppo", over_optimisation_panel.context, "review"))
    for kind, config in CONFIGS.items():
        if any(option.name == "kept_checkpoints" for option in dataclasses.fields(config)):
            RUN_SECTIONS.register(RunSection(kind, step_ratings.context))
    KINDS.register(
        Kind(
            "evaluate",
            "Evaluation",
            "evaluation.recipes.evaluate",
            parent_kinds=("policy", "reward", "classifier"),
            other_kinds=("task", "corpus", "labelled", "sft", "preferences"),
            other_purpose="the data; empty: this project's own answers in the eval split",
            train_split_only=False,
            takes_reward_model=True,
            needs_reward_model=False,
            sees_training_data=True,
            compares_with_ancestor=True,
            purpose="Measures a model: perplexity, overlap with references, choices between endings, "
            "classification, agreement with annotators, win rate, fluency compared with its parent.",
            record=recording.record_measure,
            variables=variables_of_measure,
            asks=measures.judge_model,
            needs_weights=lambda model, config: config.get("measure") != "win_rate",
            rows=item_rows.rows,
            suits=measures.suits,
        )
    )
    KINDS.register(
        Kind(
            "verdicts",
            "Verdicts of a judge model",
            "evaluation.recipes.judge_verdicts",
            parent_kinds=(),
            purpose="Asks a judge model of the project which of two answers is better, in both orders: pairs that "
            "people have compared, and pairs that nobody has.",
            asks=verdict_items.asked_model,
            rows=verdict_items.rows,
            suits=verdict_items.suits,
            record=verdict_recording.record,
        )
    )
    KINDS.register(
        Kind(
            "surprise",
            "Abnormal texts",
            "evaluation.recipes.surprise",
            dataset_kind="corpus",
            other_kinds=("corpus",),
            other_purpose="foreign texts to detect; empty: only corrupted copies",
            compares_with_ancestor=True,
            purpose="Tests how well a domain model detects foreign and corrupted texts by its surprise.",
            record=recording.record,
        )
    )
    KINDS.register(
        Kind(
            "label",
            "Labels",
            "training.recipes.label",
            parent_kinds=("classifier",),
            purpose="Tries a classifier on a few texts: the label of each, with its probability.",
        )
    )
    KINDS.register(
        Kind(
            "export",
            "Export",
            "training.recipes.export",
            parent_kinds=("policy", "reward", "encoder", "seq2seq", "classifier", "tokenizer"),
            purpose="Writes a model with its card as files for other programs (GGUF or its folder), or uploads it to "
            "a hub.",
            variables=lambda config: HUB_VARIABLES if config.get("to") == "hub" else (),
            record=hubs.record_push,
            check=hubs.check_export,
            rows=export_files.card,
            fits=export_files.fits,
        )
    )
