"""lm-evaluation-harness as the engine of choices: its tasks made of our items or fetched by name, and a model for it.

The harness makes prompts, draws solved examples, and cuts context from candidate; `HarnessModel` answers what it asks
of a model by `likelihood` instead of its own loop.
"""

from __future__ import annotations

import difflib
import functools
import logging
import os
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import datasets
import lm_eval
from lm_eval.api.instance import Instance
from lm_eval.api.task import ConfigurableTask
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

from common.distributions import Z95
from evaluation.recipes.common import likelihood
from evaluation.recipes.common.choice_items import Items
from evaluation.recipes.common.token_trees import Pair
from training.core.run_directory import RecipeFailure, Row, RunDirectory

SEED = 1234  # of the solved examples, the harness's own: every model sees the same ones
DRAWS = 1000  # samples with replacement behind an error of the harness that has no formula
ACCURACIES = ("acc", "acc_norm", "acc_bytes")
os.environ.setdefault("DISABLE_MULTIPROC", "1")  # which the harness asks before it draws them in processes of its own
logging.getLogger("lm_eval").setLevel(logging.ERROR)


class HarnessModel(HFLM):
    """A loaded model as the harness wants it. Raises RecipeFailure for what does not fit into its context."""

    def __init__(self, run: RunDirectory, model: Any, tokenizer: Any, length: int, batch_tokens: int) -> None:
        super().__init__(pretrained=model, tokenizer=tokenizer, max_length=length, batch_size=1)
        self._run, self._batch_tokens = run, batch_tokens
        self._docs: list[Row] = []

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = True) -> list[tuple[float, bool]]:
        self._docs = [request.doc for request in requests]
        return super().loglikelihood(requests, disable_tqdm=True)

    def _loglikelihood_tokens(self, requests: Sequence[Any], **_: Any) -> list[tuple[float, bool]]:  # type: ignore[override]
        pairs = [Pair(context, continuation) for _, context, continuation in requests]
        self._refuse_unfit(pairs)
        scored = likelihood.score(
            self._run, self.model, pairs, batch_tokens=self._batch_tokens, phase="weighing candidates", name="choices"
        )
        return [(one.log_likelihood, one.greedy) for one in scored]

    def _refuse_unfit(self, pairs: list[Pair]) -> None:
        """Refuse what is too long: the harness would cut it from the left and say nothing in its figures."""
        sizes = [len(pair.context) + len(pair.continuation) for pair in pairs]
        too_long = [i for i, size in enumerate(sizes) if size > self.max_length + 1]
        if too_long:
            names = list(dict.fromkeys(self._name(i) for i in too_long))
            raise RecipeFailure(
                "too_long",
                f"{_name_some(names)} needs up to {max(sizes):,} tokens with its candidates and solved examples, and "
                f"the context has {self.max_length:,}.",
                "Allow more tokens (config.max_length) if the model supports them, use fewer solved examples "
                "(config.num_fewshot), or leave these items out.",
            )
        for i, pair in enumerate(pairs):
            if not pair.continuation:
                raise RecipeFailure(
                    "no_tokens",
                    f"{self._name(i)} has a candidate that adds no token to its context.",
                    "Change where its context ends, or leave it out.",
                )

    def _name(self, request: int) -> str:
        doc = self._docs[request]
        return str(doc.get("line") or doc.get("id") or f"An item ({str(doc)[:80]})")


def _name_some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more: each" if len(names) > 3 else "")


def answers(
    model: HarnessModel, tasks: dict[str, ConfigurableTask], num_fewshot: int, limit: int | None
) -> dict[str, Any]:
    """Return the harness's `results` by task, and its `samples`: `doc`, `arguments`, `filtered_resps`, … of each
    item."""
    for task in tasks.values():
        if task.get_config("num_fewshot") != 0:  # 0 in a task's own file means that it takes none
            task.set_config(key="num_fewshot", value=num_fewshot)
        task.set_fewshot_seed(seed=SEED)
    return lm_eval.evaluate(model, {"tasks": tasks}, limit=limit, bootstrap_iters=DRAWS)


def other_figures(results: dict[str, Any]) -> dict[str, Row]:
    """Return what a task of the harness gives beside accuracies, such as Matthews' correlation of cola and F1 of
    mrpc."""
    figures = {}
    for task, metrics in results["results"].items():
        for key, value in metrics.items():
            metric, _, of_filter = key.partition(",")
            if not of_filter or metric.endswith("_stderr") or metric in ACCURACIES or not isinstance(value, float):
                continue
            error = metrics.get(f"{metric}_stderr,{of_filter}")
            spread = error if isinstance(error, float) else None
            ends = (value - Z95 * spread, value + Z95 * spread) if spread is not None else (None, None)
            figures[f"{metric} of {task}"] = {
                "value": value, "standard_error": spread, "lower": ends[0], "upper": ends[1],
                "n": len(results["samples"][task]), "clean": None,
                "higher_is_better": bool(results["higher_is_better"].get(task, {}).get(metric, True)),
            }  # fmt: skip
    return figures


# Tasks of our own items


def local_tasks(items: Items, num_fewshot: int) -> dict[str, ConfigurableTask]:
    """Return one task for each way to put items to a model; with solved examples, one for each group, which gives the
    examples."""
    parts: dict[tuple[str, bool, str], list[Row]] = defaultdict(list)
    for index, (item, line) in enumerate(zip(items.chosen, items.places, strict=True)):
        doc = {
            "place": index,
            "line": str(line).capitalize(),
            "context": item.context,
            "candidates": list(item.candidates),
            "answer": item.answer,
            "suffix": item.suffix,
        }
        parts[item.group if num_fewshot else "", bool(item.suffix), item.delimiter].append(doc)
    tasks = {}
    for number, ((group, partial, delimiter), docs) in enumerate(parts.items()):
        if len(docs) <= num_fewshot:
            raise RecipeFailure(
                "too_few_examples",
                f"{group or 'The task'} has {len(docs)} items of one kind, too few for {num_fewshot} solved examples "
                "before each.",
                "Use fewer solved examples (config.num_fewshot), or more items (config.limit).",
            )
        tasks[f"items-{number}"] = _local_task(f"items-{number}", docs, partial, delimiter)
    return tasks


def _local_task(name: str, docs: list[Row], partial: bool, delimiter: str) -> ConfigurableTask:
    """Make one task. `fewshot_split` is the tested one: the harness then leaves the item itself out of its examples."""
    rows = datasets.Dataset.from_list(docs)
    return ConfigurableTask(
        config={
            "task": name,
            "custom_dataset": lambda **_: {"test": rows},
            "test_split": "test",
            "fewshot_split": "test",
            "output_type": "multiple_choice",
            "doc_to_text": _gold if partial else _context,
            "doc_to_choice": _with_context if partial else _candidates,
            "doc_to_target": _suffix if partial else _gold,
            "target_delimiter": delimiter,
            "metric_list": [
                {"metric": metric, "aggregation": "mean", "higher_is_better": True} for metric in ACCURACIES
            ],
        }
    )


def _context(doc: Row) -> str:
    return doc["context"]


def _candidates(doc: Row) -> list[str]:
    return doc["candidates"]


def _gold(doc: Row) -> int:
    return doc["answer"]


def _with_context(doc: Row) -> list[str]:
    return [doc["context"] + candidate for candidate in doc["candidates"]]


def _suffix(doc: Row) -> str:
    return doc["suffix"]


# Tasks by name


@functools.cache
def known_tasks() -> TaskManager:
    """Return the harness's own list, which takes it a second to read."""
    return TaskManager()


def hub_tasks(names: str) -> dict[str, ConfigurableTask]:
    """Return tasks by the harness's names, parted by commas. Raises RecipeFailure for an unknown one, and without a
    hub."""
    manager = known_tasks()
    task_names = [name.strip() for name in names.split(",") if name.strip()]
    for name in task_names:
        if name not in manager.all_tasks:
            close_names = difflib.get_close_matches(name, manager.all_tasks, n=3)
            raise RecipeFailure(
                "unknown_task",
                f"lm-evaluation-harness {lm_eval.__version__} has no task {name!r}."
                + (f" It has {', '.join(close_names)}." if close_names else ""),
                "Use its tasks, separated by commas (config.suite), or assay for the built-in suite.",
            )
    try:
        tasks = manager.load(task_names)["tasks"]
    except Exception as error:  # datasets and the hub's client raise what they like where there is no network
        raise RecipeFailure(
            "no_hub",
            f"The data of {names} could not be fetched: {str(error).strip()[:300] or type(error).__name__}",
            "Connect this machine to the hub, or upload the items as a file and choose it as the second dataset.",
        ) from error
    for name, task in tasks.items():
        if task.OUTPUT_TYPE != "multiple_choice":
            raise RecipeFailure(
                "no_choices",
                f"{name} is not a task of choices ({task.OUTPUT_TYPE}).",
                "Use tasks whose answer is one of given candidates.",
            )
    return tasks
