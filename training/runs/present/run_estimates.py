"""Estimate time and memory of a run that is not queued yet, by what runs like it have taken here. Plain data.

Time grows with the work of a run: tokens or examples times parameters, beside a start that each run needs. The guides
are runs of that kind with the most similar work, which one machine carried out in one go: their median, for any of them
may have shared its machine with other work. Memory is what they were seen to hold at most, grown with the parameters.
Pretraining is counted from its size, and timed by what this machine was measured to do. Where no run like it has held
memory here, memory is counted from the sizes of the model (`memory_fit`), which also says what it fits.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from statistics import median
from typing import TYPE_CHECKING, Any

from annotate.models import Dataset, LanguageModel, Project
from training import configs
from training.models import Run
from training.runs.figures.progress import duration
from training.runs.ordering.memory_fit import CountedMemory, counted_memory
from training.runs.present.pretrain_section import BYTES_PER_TOKEN, Choices, chosen_size, typed_options, value_in
from training.runs.queue.past_runs import MOST_TOLD_BY, PastRun, past_runs

if TYPE_CHECKING:
    from training.runs.present.run_form import RunForm

START_SECONDS = 15.0  # a process that loads torch and a model
PROCESS_BYTES = 0.4e9  # an interpreter with torch and transformers, without a model
DRAWN = 2.0  # passes' time that drawing and scoring an answer take: 1.2 to 2.7, see docs/experiments/ppo-speed.md
_ALIKE = 1.5  # times more of work than the nearest: such a run is a guide, too
UNKNOWN = "Time and memory: unknown, because no similar run has finished here."


@dataclass(frozen=True)
class PlannedRun:
    """What time and memory depend on, of an order that may not be complete."""

    project: Project
    kind: str
    config: dict[str, Any]
    parent: LanguageModel | None = None
    dataset: Dataset | None = None


@dataclass(frozen=True)
class Estimate:
    """Hold seconds and bytes, each None where nothing is known. `basis` says what they rest on.

    Counted memory has its bytes by part, whether it `fits` here (None: not known), and in words what it fits and which
    options to change.
    """

    seconds: float | None
    memory_bytes: float | None
    basis: str
    parts: dict[str, float] = field(default_factory=dict)
    fits: bool | None = None
    advice: str = ""
    changes: dict[str, Any] = field(default_factory=dict)

    @property
    def text(self) -> str:
        if self.seconds is None and self.memory_bytes is None:
            return UNKNOWN
        time = "time unknown" if self.seconds is None else f"about {duration(self.seconds)}"
        memory = "memory unknown" if self.memory_bytes is None else f"{self.memory_bytes / 1e9:.2g} GB"
        line = f"{time[0].upper()}{time[1:]}, {memory}: {self.basis}."
        return f"{line} {self.advice}" if self.advice else line


@dataclass(frozen=True)
class Guide:
    """Hold a run like the planned one, and how many times its work the planned one has."""

    past: PastRun
    ratio: float

    @property
    def distance(self) -> float:
        return abs(math.log(self.ratio))

    @property
    def planned_seconds(self) -> float:
        start = min(START_SECONDS, self.past.seconds / 2)
        return start + (self.past.seconds - start) * self.ratio


def planned_run(form: RunForm) -> PlannedRun:
    """Return what stands in a form, typed in or proposed; an option that cannot be read counts as it is by default."""
    config = vars(configs.parse_valid(form.kind.name, typed_options(form) | form.fixed_options()))
    rows = {name: value_in(form, name) if name in form.fields else None for name in ("parent", "dataset")}
    return PlannedRun(form.project, form.kind.name, config, **rows)


def estimate(planned: PlannedRun) -> Estimate:
    """Return what such a run will take: by runs like it that have ended well here, else memory alone, counted."""
    if planned.kind == "pretrain":
        return _of_pretraining(planned)
    guided = _guided(planned)
    if guided.memory_bytes is not None:
        return guided
    annotations = _items_of(planned) if planned.kind == "reward" and planned.dataset is not None else None
    counted = counted_memory(planned.kind, planned.config, planned.parent, annotations, _answers_of(planned.dataset))
    return guided if counted is None else _with_counted(guided, counted)


def usual_seconds(planned: PlannedRun) -> float | None:
    """Return how long runs like it took here; None where none has ended well."""
    return _guided(planned).seconds


def _answers_of(dataset: Dataset | None) -> int:
    """Return the answers to each prompt of a dataset of preferences, rounded up; 0 where it does not tell."""
    counts = dataset.counts if dataset is not None else {}
    answers, prompts = counts.get("completions"), counts.get("prompts")
    return math.ceil(answers / prompts) if answers and prompts else 0


def _with_counted(guided: Estimate, counted: CountedMemory) -> Estimate:
    basis = f"time {guided.basis}; memory {counted.basis}" if guided.basis else f"memory {counted.basis}"
    return replace(
        guided,
        memory_bytes=counted.total,
        basis=basis,
        parts=counted.parts,
        fits=counted.fits,
        advice=counted.advice,
        changes=counted.changes,
    )


def _guided(planned: PlannedRun) -> Estimate:
    """Return what runs like it have taken; nothing where none has ended well here."""
    guides = _guides(planned)
    if not guides:
        return Estimate(None, None, "")
    memory = [held for guide in guides if (held := _memory(guide.past.run, planned)) is not None]
    return Estimate(
        median(guide.planned_seconds for guide in guides),
        median(memory) if memory else None,
        _basis([guide.past for guide in guides], planned.project),
    )


def _of_pretraining(planned: PlannedRun) -> Estimate:
    config = configs.PretrainConfig(**planned.config)
    row = chosen_size(Choices.of_config(config, planned.parent, planned.dataset))
    if row is None:
        return Estimate(None, None, "")
    return Estimate(row.seconds or None, row.bytes, row.method if row.fits else "not enough free memory")


def _guides(planned: PlannedRun) -> list[Guide]:
    """Return the recent runs of that kind on this machine whose work is nearest, the newest first."""
    runs = Run.objects.filter(kind=planned.kind)
    if planned.kind == "evaluate":
        runs = runs.filter(config__measure=planned.config.get("measure"))
    if planned.kind in ("grpo", "rloo"):  # what TRL's trainers took, who never said so, tells nothing
        runs = runs.filter(result__has_key="packed_layers")
    guides = [Guide(past, ratio) for past in past_runs(runs) if (ratio := _ratio(planned, past.run))]
    farthest = min((guide.distance for guide in guides), default=0.0) + math.log(_ALIKE)
    return [guide for guide in guides if guide.distance <= farthest][:MOST_TOLD_BY]


def _ratio(planned: PlannedRun, run: Run) -> float:
    """Return how many times the work of the run the planned one has; 0 where it cannot be told. A model of unknown size
    is taken for one of the run's size."""
    items, earlier = _items_of(planned), _items_of(run)
    if not items or not earlier:
        return 0.0
    return items / earlier * (_size_ratio(planned, run) or 1.0)


def _size_ratio(planned: PlannedRun, run: Run) -> float:
    """Return how many times the run's parameters the planned model has; 0 where either is unknown."""
    parameters = planned.parent.parameters if planned.parent else None
    earlier = run.parent.parameters if run.parent else None
    return parameters / earlier if parameters and earlier else 0.0


def _basis(past: Sequence[PastRun], project: Project) -> str:
    seconds = [one.seconds for one in past]
    shortest, longest = duration(min(seconds)), duration(max(seconds))
    took = f"which took {shortest}" if shortest == longest else f"which took {shortest} to {longest}"
    if len(past) > 1:
        return f"by the median of {len(past)} runs like it, {took}"
    return f"by {_name(past[0].run, project)}, {took}"


def _name(run: Run, project: Project) -> str:
    return f"run {run.pk}, {run.name}" if run.project_id == project.pk else "a run of another project"


def _memory(run: Run, planned: PlannedRun) -> float | None:
    held = max((attempt.memory_bytes for attempt in run.attempts.all()), default=0)
    if not held:
        return None
    times = _size_ratio(planned, run)
    return PROCESS_BYTES + max(held - PROCESS_BYTES, 0) * times if times else float(held)


def _items_of(planned: PlannedRun | Run) -> float:
    """Return the items that the time of a run grows with, comparable within a kind; 0 where they cannot be told."""
    return _items(planned.kind, planned.config, planned.dataset.counts if planned.dataset else {})


def _items(kind: str, config: dict[str, Any], counts: dict[str, Any]) -> float:
    number = {name: value for name, value in config.items() if isinstance(value, (int, float))}.get
    epochs = number("epochs", 1.0)
    match kind:
        case "sample":
            return counts.get("prompts", 0) * number("completions_per_prompt", 1) * number("max_new_tokens", 64)
        case "best_of" | "rejection":
            drawn = number("candidates", 1) * number("completions_per_prompt", 1)
            answered = min(counts.get("prompts", 0), number("max_prompts", 0) or math.inf)
            return answered * drawn * number("max_new_tokens", 64)
        case "ppo":
            passes = number("steps", 0) * number("batch_size", 0) * (DRAWN + epochs)
            return (passes + number("calibration_episodes", 0) * DRAWN) * number("max_new_tokens", 0)
        case "grpo" | "rloo":
            return number("steps", 0) * number("batch_size", 0) * (DRAWN + epochs) * number("max_new_tokens", 0)
        case "sft":
            return counts.get("examples", 0) * epochs
        case "dpo":
            return sum(counts.get("winners", {}).get(winner, 0) for winner in ("model_a", "model_b")) * epochs
        case "kto":
            return counts.get("ratings", 0) * epochs
        case "reward":
            return counts.get("comparisons", 0) + counts.get("ratings", 0)
        case "domain":
            tokens = counts.get("bytes", 0) / BYTES_PER_TOKEN * epochs
            return min(tokens, number("max_tokens") or tokens)
        case "tokenizer":
            return min(counts.get("bytes", 0), number("train_mb", 1024) * 1e6)
        case "classify":
            return sum(value for value in (counts.get("labels") or {}).values() if isinstance(value, int)) * epochs
        case "evaluate":
            return number("limit", 0)
        case "surprise":
            return number("passages", 0)
        case "corpus":
            return number("max_documents", 0)
    return 1.0  # import, export, label: the model's size alone


def memory_of(run: Run) -> float:
    """Return the bytes of the host's memory that a queued run will hold: by runs like it, or by what it has held
    already; 0 where neither is known. What is counted is a GPU's, where there is one."""
    held = max((attempt.memory_bytes for attempt in run.attempts.all()), default=0)
    planned = PlannedRun(run.project, run.kind, run.config, run.parent, run.dataset)
    known = estimate(planned) if run.kind == "pretrain" else _guided(planned)
    return max(known.memory_bytes or 0.0, float(held))
