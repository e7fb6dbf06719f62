"""The run directory: everything that passes between Django and a recipe but the keys of endpoints (`run_secrets`).

    config.json        in: kind, seed, code version, dataset hash, paths of parent models, hyperparameters
    data/*.jsonl       in: frozen rows
    progress.json      out: what it is doing, how far it is, when it will end (replaced as a whole)
    metrics.jsonl      out: one sequence-numbered line per step
    samples.jsonl      out: one sequence-numbered line per sample completion
    rollouts.jsonl     out: which process drew which answers of a step, by which version of the weights
    completions.jsonl  out: what `sample` produced, one line per completion
    requests.jsonl     out: what `sample` asked an endpoint, and what became of each request (refused.jsonl: for good)
    checkpoints/       out: `step-000040` is complete when it has that name
    model/             out: the finished model, complete when it has that name
    dataset/           out: the rows of a new dataset as *.jsonl, complete when it has that name
    reviews.jsonl      out: pairs of answers that people are asked to compare (the human review)
    opinions.jsonl     in: what they said so far, replaced as a whole while the recipe runs
    paused.json        out: why it waits for a person, and the choices there are
    amendments.json    in: what was chosen at each pause: the config itself stays as it was
    result.json        out: final figures; its presence means the recipe ended well
    failure.json       out: what went wrong, in words, with the remedy

Whole files are written under a temporary name, fsynced and renamed; logs are appended line by line, and a
torn last line is dropped on reading. This module knows neither Django nor torch.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path
from typing import Any

from common import atomic_files
from training.core import step_ledger

Row = dict[str, Any]
DISK_PER_NODE = "ASSAY_DISK_PER_NODE"  # says to a recipe over several nodes that each has a run directory of its own
NEEDED_ON_THE_WAY = ("tokens", "best")  # token tables, and the weights of the best step so far
_IN_LINE = 8  # figures of a step that the log names
_STEP = re.compile(r"step-\d+")
_STEP_LINE = re.compile(r"\d\d:\d\d:\d\d step \d+: ")


class RecipeFailure(Exception):
    """A failure that the recipe understands: a code for programs, a message and a remedy for people.

    `remedy_changes` is the remedy as options of the config, {name: value}, where there is one: the page then offers
    to queue the run again with them.
    """

    def __init__(self, code: str, message: str, remedy: str, remedy_changes: Row | None = None) -> None:
        super().__init__(message)
        self.code, self.message, self.remedy = code, message, remedy
        self.remedy_changes = remedy_changes or {}

    @property
    def row(self) -> Row:
        """Return its parts by name, of which it can be made again."""
        return {
            "code": self.code,
            "message": self.message,
            "remedy": self.remedy,
            "remedy_changes": self.remedy_changes,
        }


def step_of(checkpoint: Path) -> int:
    """Return the step that a checkpoint is of, by its folder's name."""
    return int(checkpoint.name.removeprefix("step-"))


def folders_of_steps(parent: Path) -> list[Path]:
    """List the folders of steps, in the order of the steps; `step-000040.broken`, which somebody set aside, is none."""
    return sorted((path for path in parent.glob("step-*") if _STEP.fullmatch(path.name)), key=step_of)


@dataclass(frozen=True)
class RunSpec:
    """Hold what `config.json` holds. Paths are absolute; `config` is the recipe's own validated hyperparameters."""

    kind: str
    config: Row
    seed: int = 0
    parent: str = ""
    reward_model: str = ""
    reward_models: dict[str, Row] = field(default_factory=dict)  # of parts of the reward, by name: folder and hash
    dataset_hash: str = ""
    code_version: str = ""
    ancestor: str = ""  # what the parent was made from, for kinds that compare with it
    trained_on: list[str] = field(default_factory=list)  # folders of *.jsonl: all that the parent and its ancestors saw
    parent_hash: str = ""  # sha256 of the parent's weights, where it was taken when they came
    endpoints: dict[str, Row] = field(default_factory=dict)  # by role: where and how a model is asked, but for its key


class RunDirectory:
    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._sequences: dict[str, int] = {}
        self._started = time.monotonic()
        self._phase, self._first_step = "", 0

    def __repr__(self) -> str:
        return f"RunDirectory({self.path})"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def model(self) -> Path:
        return self.path / "model"

    @property
    def dataset(self) -> Path:
        return self.path / "dataset"

    # In

    def create(self, spec: RunSpec, data: dict[str, Iterator[Row]] | None = None) -> None:
        """Lay the directory for a recipe. `data` maps a file name without suffix to its rows."""
        (self.path / "data").mkdir(parents=True, exist_ok=True)
        for name, rows in (data or {}).items():
            atomic_files.write_text(self.path / "data" / f"{name}.jsonl", "".join(_line(row) for row in rows))
        atomic_files.write_text(
            self.path / "config.json", json.dumps(spec.__dict__, indent=2, ensure_ascii=False) + "\n"
        )

    def identify(self, identity: str) -> None:
        """Say whose directory it is, once: a torn identity would make an attempt set its own checkpoints aside."""
        if not (self.path / "identity").exists():
            atomic_files.write_text(self.path / "identity", identity)

    def spec(self) -> RunSpec:
        return RunSpec(**json.loads((self.path / "config.json").read_text(encoding="utf-8")))

    def rows(self, name: str) -> list[Row]:
        """Return the rows of `data/<name>.jsonl`; none when there is no such file."""
        return list(self.each_row(name))

    def each_row(self, name: str) -> Iterator[Row]:
        """Yield the rows of `data/<name>.jsonl`, one in memory at a time."""
        return read_lines(self.path / "data" / f"{name}.jsonl")

    def amendments(self) -> list[Row]:
        """Return what people chose at the pauses of this run, first to last."""
        row: Any = _read_json(self.path / "amendments.json")
        return row or []

    def amend(self, amendments: list[Row]) -> None:
        atomic_files.write_text(
            self.path / "amendments.json", json.dumps(amendments, indent=2, ensure_ascii=False) + "\n"
        )

    def opinions(self) -> list[Row]:
        return list(read_lines(self.path / "opinions.jsonl"))

    def tell_opinions(self, rows: list[Row]) -> None:
        atomic_files.write_text(self.path / "opinions.jsonl", "".join(_line(row) for row in rows))

    # Out, while it runs

    def log_metrics(self, step: int, **values: float) -> None:
        """Add a row of figures, and print it as a line of the log."""
        self._append("metrics.jsonl", {"step": step, "time": time.time(), "values": values})
        step_ledger.note(self.path.name, "metrics", step)
        print(step_line(step, values, time.gmtime()), flush=True)

    def log_sample(
        self, step: int, prompt: list[Row], completion: str, score: float | None = None, parts: Row | None = None
    ) -> None:
        """Add an answer; `parts` of its score by name, where a reward has several."""
        row = {"step": step, "prompt": prompt, "completion": completion, "score": score}
        self._append("samples.jsonl", row | ({"parts": parts} if parts else {}))

    def log_rollout(self, step: int, **about: Any) -> None:
        """Say who drew some of a step's answers, and by which weights."""
        self._append("rollouts.jsonl", {"step": step, **about})

    def log_completions(self, *rows: Row) -> None:
        """Append them at once: a process that is killed leaves all of them or none."""
        self._append("completions.jsonl", *rows)
        step_ledger.note(self.path.name, "completions", self._sequences["completions.jsonl"])

    def sync_completions(self) -> None:
        """Return when what was appended is on disk, and outlives a power cut."""
        with (self.path / "completions.jsonl").open("rb") as file:
            os.fsync(file.fileno())

    def progress(self, phase: str, step: int, total: int, eta_seconds: float | None = None) -> None:
        """Say what is being done. Without an `eta_seconds`, the pace since the first call of this phase gives it."""
        now = time.monotonic()
        if self._phase != phase:
            self._phase, self._first_step, self._started = phase, step, now
        if eta_seconds is None and step > self._first_step:
            eta_seconds = (now - self._started) / (step - self._first_step) * (total - step)
        atomic_files.write_text(
            self.path / "progress.json",
            json.dumps({"phase": phase, "step": step, "total": total, "eta_seconds": eta_seconds, "time": time.time()}),
        )

    def reviews(self) -> list[Row]:
        return list(read_lines(self.path / "reviews.jsonl"))

    def ask_for_review(self, rows: list[Row]) -> None:
        """Add pairs of answers, numbered: all of them or, when it dies meanwhile, none."""
        before = self.reviews()
        new = [{"sequence": len(before) + i, **row} for i, row in enumerate(rows, 1)]
        atomic_files.write_text(self.path / "reviews.jsonl", "".join(_line(row) for row in [*before, *new]))

    def pause(self, pause: Row) -> None:
        """Pause the recipe: it ends here and goes on when somebody has chosen: `code, message, remedy, step,
        choices`."""
        atomic_files.write_text(self.path / "paused.json", json.dumps(pause, indent=2, ensure_ascii=False) + "\n")

    def paused(self) -> Row | None:
        return _read_json(self.path / "paused.json")

    # Out, at the end

    def begin_checkpoint(self, step: int) -> Path:
        """Return a temporary folder to fill; `commit_checkpoint` gives it its name."""
        return atomic_files.begin_folder(self._checkpoint(step))

    def commit_checkpoint(self, step: int, keep: int = 2) -> Path:
        final = atomic_files.commit_folder(self._checkpoint(step))
        for old in self.complete_checkpoints()[:-keep]:
            shutil.rmtree(old)
        return final

    def _checkpoint(self, step: int) -> Path:
        return self.checkpoints / f"step-{step:06d}"

    def complete_checkpoints(self) -> list[Path]:
        """List complete checkpoints by their numbers: by their names, step 1000000 would come before step 999999."""
        return folders_of_steps(self.checkpoints)

    def latest_checkpoint(self) -> Path | None:
        return next(reversed(self.complete_checkpoints()), None)

    def latest_step(self) -> int:
        """Return the step of the latest checkpoint; -1 where there is none."""
        latest = self.latest_checkpoint()
        return step_of(latest) if latest else -1

    def kept_step(self) -> int | None:
        """Return where a new attempt goes on: the latest checkpoint's step, else how many completions exist. None:
        nowhere."""
        if latest := self.latest_checkpoint():
            return step_of(latest)
        return sum(1 for _ in read_lines(self.path / "completions.jsonl")) or None

    def truncate_logs(self, step: int) -> None:
        """Drop, on resume, what was logged after the checkpoint: those steps are about to be taken again."""
        for name in ("metrics.jsonl", "samples.jsonl", "rollouts.jsonl"):
            rows = [row for row in read_lines(self.path / name) if row["step"] <= step]
            if (self.path / name).exists():
                atomic_files.write_text(self.path / name, "".join(_line(row) for row in rows))
            self._sequences[name] = rows[-1]["sequence"] if rows else 0

    def begin_model(self) -> Path:
        return atomic_files.begin_folder(self.model)

    def commit_model(self) -> Path:
        return atomic_files.commit_folder(self.model)

    def begin_dataset(self) -> Path:
        """Return a temporary folder for the rows; what an earlier attempt wrote there stays, for a recipe that
        goes on."""
        return atomic_files.begin_folder(self.dataset, keeps=True)

    def commit_dataset(self) -> Path:
        return atomic_files.commit_folder(self.dataset)

    def finish(self, result: Row) -> None:
        """Write the result, and only then remove what the run needed on its way: an attempt that is killed in between
        has ended well, and one that is killed before finds all that its checkpoint points at."""
        atomic_files.write_text(self.path / "result.json", json.dumps(result, indent=2, ensure_ascii=False) + "\n")
        self.remove_needed_on_the_way()

    def remove_needed_on_the_way(self) -> None:
        for name in NEEDED_ON_THE_WAY:
            shutil.rmtree(self.path / name, ignore_errors=True)

    def fail(self, failure: RecipeFailure) -> None:
        """Write the failure. Of several processes that fail at once each writes under a name of its own."""
        atomic_files.write_text(self.path / "failure.json", json.dumps(failure.row), writer=str(os.getpid()))

    def result(self) -> Row | None:
        return _read_json(self.path / "result.json")

    def failure(self) -> Row | None:
        return _read_json(self.path / "failure.json")

    def current_progress(self) -> Row | None:
        return _read_json(self.path / "progress.json")

    def _append(self, name: str, *rows: Row) -> None:
        path = self.path / name
        if name not in self._sequences:
            drop_torn_line(path)
            self._sequences[name] = max((int(line["sequence"]) for line in read_lines(path)), default=0)
        lines = [_line({"sequence": self._sequences[name] + i, **row}) for i, row in enumerate(rows, 1)]
        with path.open("ab", buffering=0) as file:
            append_whole(file, "".join(lines))
        self._sequences[name] += len(rows)


def step_line(step: int, values: Mapping[str, float], now: time.struct_time) -> str:
    """Return `18:03:31 step 12: loss 2.31, kl 0.2`, with a few figures in the order in which the recipe gives them."""
    numbers = [f"{name} {value:.4g}" for name, value in values.items() if isinstance(value, int | float)]
    return f"{time.strftime('%H:%M:%S', now)} step {step}: {', '.join(numbers[:_IN_LINE])}"


def is_step_line(line: str) -> bool:
    """Tell whether `step_line` wrote a line of a log."""
    return _STEP_LINE.match(line) is not None


def read_lines(path: Path) -> Iterator[Row]:
    """Yield the complete lines of a JSONL file; nothing when it is absent, and a torn last line is passed over."""
    if not path.exists():
        return
    with path.open(encoding="utf-8") as file:
        for line in file:
            if not line.endswith("\n"):
                return
            if line.strip():
                yield json.loads(line)


def append_whole(file: FileIO, text: str) -> None:
    """Append all of it or, where the disk is full, nothing: half a line would make the lines after it unreadable."""
    before, left = file.seek(0, os.SEEK_END), text.encode()
    try:
        while left:
            left = left[file.write(left) :]
    except OSError:
        file.truncate(before)
        raise


def _line(row: Row) -> str:
    return json.dumps(row, ensure_ascii=False) + "\n"


def drop_torn_line(path: Path) -> None:
    """Cut off the last line of a JSONL file where its writer was killed in the middle of it."""
    if path.exists() and not (text := path.read_bytes()).endswith(b"\n"):
        os.truncate(path, text.rfind(b"\n") + 1)  # in one stroke: dying here must not cost the lines before


def _read_json(path: Path) -> Row | None:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
