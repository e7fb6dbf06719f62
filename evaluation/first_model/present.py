"""Describe where a project is on its five steps, for pages, programs and commands alike."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.conf import settings
from django.utils import timezone

from annotate.data.datasets.sampled_prompts import prompts_to_sample
from annotate.models import LanguageModel, Project, Split
from evaluation.first_model import actions, facts, path_steps, time_estimates
from evaluation.first_model.recipe_choice import KTO, PAIRS, PPO, SFT, Annotated, Choice, Option
from evaluation.first_model.time_estimates import REFERENCE_PARAMETERS, REFERENCE_TOKENS, EarlierRun, Estimate, in_words
from evaluation.models import FirstModel
from training.models import Run
from training.runs.figures.progress import progress
from training.runs.queue.past_runs import MOST_TOLD_BY, PastRun, past_runs


@dataclass(frozen=True)
class Waiting:
    """A run under way: its line of progress, and the share of it that is done (None while nobody knows)."""

    run: Run
    line: str
    percent: int | None


@dataclass(frozen=True)
class TrainingOption:
    """A recipe with what it costs in time."""

    option: Option
    time: str
    is_proposed: bool


def waiting(run: Run | None) -> Waiting | None:
    """Return how far a run is; None when none is under way."""
    if run is None or run.is_finished:
        return None
    last = run.metrics.order_by("-sequence").values_list("values", flat=True).first() or {}
    percent = round(100 * run.step / run.total_steps) if run.total_steps else None
    return Waiting(run, progress(run, list(run.attempts.all()), last, timezone.now()), percent)


def runs_of(path: FirstModel) -> dict[str, Run | None]:
    return {
        "model": path.import_run,
        "answers": path.sampling_run,
        "training": path.training_run or path.reward_run,
    }


def sampling_size(path: FirstModel, completions: int, max_new_tokens: int) -> dict[str, Any]:
    """Return how many answers there would be, how long they take, and what their own tokens cost at most behind an
    endpoint."""
    base = facts.base_of(path)
    prompts = prompts_to_sample(path.project, Split.TRAIN).count()
    answers = prompts * completions
    estimate = _estimate("sample", answers, base, tokens=max_new_tokens)
    size = {"prompts": prompts, "answers": answers, "time": in_words(estimate.seconds), "basis": estimate.basis}
    if base is not None and base.endpoint and not base.path:
        size["basis"] = "at the speed of a small model on this machine; a server with a GPU is many times faster"
    if base is not None and base.endpoint and base.completion_price:
        size["cost"] = f"{float(base.completion_price) * answers * max_new_tokens / 1e6:.2f}"
    return size


def sampling_defaults(project: Project, base: LanguageModel | None) -> tuple[int, int]:
    """Return completions per prompt and the longest answer, in tokens."""
    return actions.COMPLETIONS_PER_PROMPT, actions.answer_length(project, base) if base else actions.LONGEST_ANSWER


def training_options(path: FirstModel, annotated: Annotated, choice: Choice) -> list[TrainingOption]:
    """Return every recipe: the proposed one first, then PPO with what it lacks."""
    base, length = facts.base_of(path), facts.answer_tokens(path)
    times = {option.kind: _training_time(option.kind, annotated, base, length) for option in choice.options}
    rows = [TrainingOption(option, times[option.kind], option == choice.proposed) for option in choice.options]
    return sorted(rows, key=lambda row: (not row.is_proposed, row.option.kind != PPO, not row.option.is_possible))


def _training_time(kind: str, annotated: Annotated, base: LanguageModel | None, length: int) -> str:
    if kind == PPO:
        reward = _estimate("reward", annotated.total, base)
        policy = _estimate("ppo", time_estimates.PPO_EPISODES, base, tokens=length)
        return f"{in_words(reward.seconds + policy.seconds)}, {policy.basis}"
    thumbs = annotated.thumbs_up + annotated.thumbs_down
    items = annotated.examples if kind == SFT else thumbs if kind == KTO else annotated.pairs
    estimate = _estimate(kind, items, base)
    return f"{in_words(estimate.seconds)}, {estimate.basis}"


def annotating_time(project: Project, annotated: Annotated) -> str:
    """Return how long one person annotates until DPO is possible; "" once it is."""
    needed = PAIRS - annotated.pairs
    if needed <= 0:
        return ""
    estimate = time_estimates.of_annotating(needed, facts.annotation_seconds(project))
    what = "1 more comparison takes" if needed == 1 else f"{needed} comparisons take"
    between = "; ratings come between them" if project.asks_ratings and project.asks_comparisons else ""
    return f"{what} one person {in_words(estimate.seconds)}, {estimate.basis}{between}"


def weights_time(parameters: float | None) -> str:
    """Return how long weights take to be read: 25 s for 135 million parameters on two cores, most of it a start."""
    return in_words(15 + 10 * (parameters or REFERENCE_PARAMETERS) / REFERENCE_PARAMETERS)


def size_on_disk(source: str) -> int:
    """Return the bytes of a file or folder below models/ in ASSAY_DATA."""
    path: Path = settings.DATA_DIR / source
    return sum(each.stat().st_size for each in ([path] if path.is_file() else path.rglob("*")) if each.is_file())


def _estimate(kind: str, items: int, base: LanguageModel | None, *, tokens: int = REFERENCE_TOKENS) -> Estimate:
    parameters = base.parameters if base else None
    earlier = [_earlier_run(one) for one in _past_runs(kind, base)[:MOST_TOLD_BY]]
    return time_estimates.of_run(kind, items, parameters=parameters, tokens=tokens, earlier=earlier)


def _past_runs(kind: str, base: LanguageModel | None) -> list[PastRun]:
    """Return the recent runs of that kind here, of this model rather than of others; newest first."""
    runs = Run.objects.filter(kind=kind, parent__isnull=False)
    own = past_runs(runs.filter(parent=base)) if base else []
    return own or past_runs(runs.filter(parent__endpoint="", parent__parameters__gt=0))


def _earlier_run(past: PastRun) -> EarlierRun:
    run = past.run
    tokens = run.config.get("max_new_tokens", REFERENCE_TOKENS) if run.kind in ("sample", PPO) else REFERENCE_TOKENS
    size = (run.parent.parameters if run.parent else None) or REFERENCE_PARAMETERS
    return EarlierRun(past.seconds, _items_of(run), size, tokens)


def _items_of(run: Run) -> int:
    counts = run.dataset.counts if run.dataset else {}
    match run.kind:
        case "sample":
            return int(run.result.get("completions", 0))
        case "ppo":
            return int(run.config.get("steps", 0)) * int(run.config.get("batch_size", 0))
        case "sft":
            return int(counts.get("examples", 0))
        case "dpo":
            return sum(counts.get("winners", {}).get(winner, 0) for winner in ("model_a", "model_b"))
        case "kto":
            return int(counts.get("ratings", 0))
    return int(counts.get("comparisons", 0)) + int(counts.get("ratings", 0))


def summary(path: FirstModel) -> dict[str, Any]:
    """Return the whole path as plain data, for programs and commands."""
    known = facts.facts_of(path)
    annotated, choice = facts.choice_of(path)
    base, child = facts.base_of(path), facts.child_of(path)
    runs = {name: run.pk if run else None for name, run in runs_of(path).items()}
    return {
        "project": path.project.slug,
        "step": path_steps.current_step(known),
        "model": base.pk if base else None,
        "runs": runs,
        "import_id": path.prompts_id,  # type: ignore[attr-defined]
        "prompts": known.prompts,
        "answers": known.answers,
        "annotations": facts.annotation_count(path.project),
        "proposed": choice.proposed.kind if choice.proposed else "",
        "recipes": [
            {
                "kind": row.option.kind,
                "title": row.option.title,
                "is_possible": row.option.is_possible,
                "reason": row.option.reason,
                "time": row.time,
            }
            for row in training_options(path, annotated, choice)
        ],
        "further": choice.further,
        "freeze": path.freeze_id,  # type: ignore[attr-defined]
        "problem": path.problem if path.freeze is None else path.freeze.problem,
        "child": child.pk if child else None,
    }
