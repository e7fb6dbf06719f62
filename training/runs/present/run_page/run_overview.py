"""The overview of a run: what came of it in a sentence, what to do next, where it comes from and what it cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.utils import timezone

from annotate.data.datasets.count_names import count_words
from annotate.models import Dataset, LanguageModel
from common.texts import percent
from training.core.run_directory import RunDirectory
from training.models import Attempt, Run
from training.runs.figures import curves, fidelity, health, progress, verdicts
from training.runs.ordering import pauses
from training.runs.present import failure_remedies
from training.runs.present.run_page import next_actions
from training.runs.present.run_page.run_charts import Figures

_FIGURES = 12
_SAID_ELSEWHERE = (
    *("stopped", "how_to_read", "verdict", "why", "parent", "final", "counts", "report", "fidelity"),
    "kept_checkpoints",
)


_TITLES = {
    "step": "Step of the kept model",
    "fast decoder": "Answers by the fast decoder",
    "packed layers": "Padding left out of the work",
    "reward evidence: sentence": "Evidence of the reward model",
    "reward evidence: beats chance": "The reward model beats chance",
    "reward evidence: overruled": "Used without that evidence",
}  # of a PPO's result; other kinds' figures have their names


def context(run: Run, figures: Figures, attempts: Sequence[Attempt], section: dict[str, Any]) -> dict[str, Any]:
    """Return everything but what depends on who looks. `section` is what its kind adds: with `own_figures` it shows
    the result by itself, `own_verdict` is its sentence."""
    stop = run.result.get("stopped") if run.is_finished else None
    left = {name: value for name, value in run.result.items() if name not in _SAID_ELSEWHERE}
    lines = [] if "own_figures" in section else progress.figures(left)
    all_figures = [(_TITLES.get(name, name), value) for name, value in lines]
    before_and_after = before_after(run.result)
    completions = run.completions.count() if run.state == Run.State.SUCCEEDED else 0
    return {
        "stopped": stop,
        "warnings": [] if stop or run.kind != "ppo" else health.warnings(figures.outer_rows, pauses.config_now(run)),
        "verdict": verdicts.verdict(
            run.state, run.result, figures.firsts, figures.lasts, completions, section.get("own_verdict", "")
        ),
        "cost": progress.cost(attempts, timezone.now()),
        "before_after": before_and_after[:_FIGURES],
        "more_before_after": before_and_after[_FIGURES:],
        "fidelity": fidelity.lines(run.result),
        "fidelity_sentence": fidelity.sentence(run.result),
        "figures": all_figures[:_FIGURES],
        "more_figures": all_figures[_FIGURES:],
        "kept_step": RunDirectory(run.path).kept_step() if run.state == Run.State.FAILED else None,
        "remedies": failure_remedies.remedies_of(run),
        "next_actions": next_actions.actions_of(run, completions),
        "votes": votes_behind(run),
        "agreement": agreement(run.reward_model),
        "dataset_counts": _counts(run.dataset),
        "completions": completions,
        "kept_checkpoints": run.kept_checkpoints.all() if run.state == Run.State.SUCCEEDED else (),
    }


def before_after(result: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Return (what, of the parent, of the model made) for each figure of a result's `parent` and `final`."""
    parent, final = result.get("parent"), result.get("final")
    if not isinstance(parent, dict) or not isinstance(final, dict):
        return []
    names = [*(name for name in parent if name in final), *(name for name in final if name not in parent)]
    return [
        (curves.title_of(name), curves.number(parent.get(name)), curves.number(final.get(name)))
        for name in names
        if curves.is_number(final.get(name)) and curves.is_figure(name)
    ]


def votes_behind(run: Run) -> list[tuple[Dataset, str]]:
    """Return the datasets of annotations that this run learns from, its own or its reward model's, and how many they
    hold."""
    made_by = getattr(run.reward_model, "made_by", None) if run.reward_model else None
    candidates = [run.dataset, made_by.dataset if made_by else None]
    return [(d, _votes(d)) for d in candidates if d is not None and d.judge]  # what was uploaded nobody judged here


def agreement(reward_model: LanguageModel | None) -> str:
    """Return how often the reward model agrees with people on pairs it has not seen, as its own card says; else
    empty."""
    metrics = (reward_model.card or {}).get("metrics") or {} if reward_model else {}
    accuracy = (metrics.get("held_out") or {}).get("pair_accuracy")
    if not isinstance(accuracy, dict) or not curves.is_number(accuracy.get("value")):
        return ""
    lower, upper = accuracy.get("lower"), accuracy.get("upper")
    if curves.is_number(lower) and curves.is_number(upper):
        return f"{percent(accuracy['value'])} [{100 * lower:.0f}, {100 * upper:.0f}]"
    return percent(accuracy["value"])


def _counts(dataset: Dataset | None) -> list[tuple[str, Any]]:
    """Return what the dataset holds, as it says itself; what was left out and why is on its own page."""
    counts = dataset.counts if dataset else {}
    return [(count_words(name), count) for name, count in counts.items() if curves.is_number(count)]


def _votes(dataset: Dataset) -> str:
    """Say what a dataset holds: `312 pairs, 540 ratings by 9 people`"""
    counts = dataset.counts
    if dataset.judge == "model":
        return f"{counts.get('verdicts', 0):,} verdicts of the judge model {counts.get('judge_model', '')}"
    named = (("comparisons", "pairs"), ("ratings", "ratings"), ("examples", "examples"))
    counts_text = [f"{counts[name]:,} {word}" for name, word in named if counts.get(name)]
    judges = counts.get("judges")
    one, many = (
        ("simulated annotator", "simulated annotators") if dataset.judge == "simulation" else ("person", "people")
    )
    people = one if judges == 1 else many
    return ", ".join(counts_text or [dataset.name]) + (
        f" by {judges} {people}" if curves.is_number(judges) else f" by {people}"
    )
