"""Gather texts, clean them, keep the rest: `python -m training.recipes.corpus RUN_DIR`.

Reads the sources that the config names, row by row, and passes each document through the rules of `training.corpora`:
mend (ftfy) -> C4's boilerplate -> language -> Gopher's quality and repetition -> evaluation texts -> private data ->
equal and nearly equal documents. What is left goes to `dataset/train-00000.jsonl` … and, for a share of the documents
by the hash of their text, to `validation.jsonl`; each line holds `text` and `source`.

In, beside the config: `data/folders.jsonl` (the folders that files may be read from; by hand, the variable
ASSAY_CORPUS_FOLDERS), `data/eval_texts.jsonl` (what must not be learnt), `data/app_texts.jsonl` (for app: sources).

Memory does not grow with the corpus: documents seen are remembered on disk (`training.corpora.cleaning.ledger`). A run
that was killed at any moment goes on from its last checkpoint and ends with the same bytes. Left out: shuffling
(pretraining draws its own order), weights for sources, more than one process.
"""

from __future__ import annotations

import json
import math
import os
import resource
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from common.passages import Passages, passages_of
from training.configs import CorpusConfig
from training.configs.corpus_sources import read_orders
from training.core.file_checks.content_hashes import corpus_hash
from training.core.run_directory import RecipeFailure, Row, RunDirectory, RunSpec, read_lines
from training.corpora.cleaning.cleaner import clean, rules_of
from training.corpora.cleaning.cleaning_report import Report
from training.corpora.cleaning.ledger import Ledger
from training.corpora.cleaning.rules import Rule
from training.corpora.cleaning.text_hashes import digest
from training.corpora.reading.allowed_files import FOLDERS_VARIABLE, folders_of
from training.corpora.reading.source_part import Part
from training.corpora.reading.sources import parts_of
from training.corpora.reading.text_files import cut
from training.recipes.common.entry import config_of, run_recipe
from training.recipes.corpus.shards import VALIDATION, Shards

FEWEST_DOCUMENTS = 2
_SAY_EVERY = 2.0  # seconds
_SHARD_UNIT = 1_000_000


@dataclass
class State:
    """All that a checkpoint holds beside the documents seen. `part` and `row`: where reading goes on."""

    part: int = 0
    row: int = 0
    stream: Row | None = None  # a Hub stream's own place
    taken: dict[str, int] = field(default_factory=dict)  # rows of each order, for max_documents
    read: int = 0
    seconds: float = 0.0
    sizes: dict[str, int] = field(default_factory=dict)
    report: Row | None = None
    held: Row | None = None  # the document that validates when chance holds none back
    done: bool = False


def main(run: RunDirectory, spec: RunSpec) -> None:
    config: CorpusConfig = config_of(spec)
    run.progress("Looking at the sources", 0, 0)
    parts = _parts(run, config)
    evaluation = _evaluation(run, config)
    ledger = Ledger(run.checkpoints / "ledger.sqlite3")
    try:
        stored = ledger.state()
        state = State(**stored) if stored else State()
        run.truncate_logs(state.read)
        if not state.done:
            rules = rules_of(config, ledger, evaluation)
            report = Report(rules, state.report)
            work = Work(run, config, parts, rules, report, ledger, state)
            work.read_everything()
    finally:
        ledger.close()
    finish(run, state, evaluation)


def _parts(run: RunDirectory, config: CorpusConfig) -> list[Part]:
    folders_file = run.path / "data" / "folders.jsonl"
    folders = [row["folder"] for row in read_lines(folders_file)] if folders_file.exists() else None
    return parts_of(
        read_orders(config.sources),
        folders_of(os.pathsep.join(folders) if folders is not None else os.environ.get(FOLDERS_VARIABLE, "")),
        run.path / "data" / "app_texts.jsonl",
        fields=[name.strip() for name in config.text_field.split(",") if name.strip()],
        documents=config.documents,
        longest=config.longest_document,
    )


def _evaluation(run: RunDirectory, config: CorpusConfig) -> Passages:
    texts = (row["text"] for row in read_lines(run.path / "data" / "eval_texts.jsonl"))
    return passages_of(texts if config.evaluation_texts else (), config.passage_words)


class Work:
    """Read, clean and write, with a checkpoint every so many documents."""

    def __init__(
        self,
        run: RunDirectory,
        config: CorpusConfig,
        parts: list[Part],
        rules: list[Rule],
        report: Report,
        ledger: Ledger,
        state: State,
    ) -> None:
        self.run, self.config, self.parts, self.rules = run, config, parts, rules
        self.report, self.ledger, self.state = report, ledger, state
        self.shards = Shards(run.begin_dataset(), config.shard_mb * _SHARD_UNIT, state.sizes)
        self.started_at = time.monotonic() - state.seconds
        self.last_said = 0.0
        self.last_mark = (time.monotonic(), state.read)

    def read_everything(self) -> None:
        for part, text in self._rows():
            if text is None:
                self.report.unreadable(part.source)
            else:
                for piece in cut(text, self.config.longest_document):
                    self._take(piece.strip(), part.source)
            if self.state.read - self.last_mark[1] >= self.config.checkpoint_every:
                self._checkpoint(part)
            elif time.monotonic() - self.last_said > _SAY_EVERY:
                self._say(part)
        self._release_held()
        self.state.done = True
        self._checkpoint(None)
        self.shards.close()

    def _rows(self) -> Iterator[tuple[Part, str | None]]:
        """Yield every row from where the state stands; the state moves on before the row is worked on."""
        state, most = self.state, self.config.max_documents
        while state.part < len(self.parts):
            part = self.parts[state.part]
            part.resume_from = state.stream
            if not most or state.taken.get(part.source, 0) < most:
                for text in part.read(part, state.row):
                    state.row += 1
                    state.taken[part.source] = state.taken.get(part.source, 0) + 1
                    yield part, text
                    if most and state.taken[part.source] >= most:
                        break
            part.position = part.size
            state.part, state.row, state.stream = state.part + 1, 0, None

    def _take(self, text: str, source: str) -> None:
        self.state.read += 1
        self.report.read(source, text)
        cleaned = clean(text, source, self.rules, self.report)
        if cleaned is not None:
            self._keep({"text": cleaned, "source": source})

    def _keep(self, row: Row) -> None:
        """Keep a row, for validation by the hash of its text. Until one goes there, that with the smallest hash waits
        aside."""
        draw = int.from_bytes(digest(row["text"])[:8], "big") / 2**64
        if draw < self.config.held_out:
            self._write(row, "validation")
            self._release_held()
        elif self._validates:
            self._write(row, "train")
        elif self.state.held is None or draw < self.state.held["place"]:
            former, self.state.held = self.state.held, {**row, "place": draw}
            if former is not None:
                self._write(former, "train")
        else:
            self._write(row, "train")

    @property
    def _validates(self) -> bool:
        return VALIDATION in self.shards.sizes

    def _release_held(self) -> None:
        held_row, self.state.held = self.state.held, None
        if held_row is not None:
            self._write(held_row, "train" if self._validates else "validation")

    def _write(self, row: Row, file: str) -> None:
        self.shards.write({"text": row["text"], "source": row["source"]}, validation=file == "validation")
        self.report.kept(row["source"], row["text"], file)

    def _checkpoint(self, part: Part | None) -> None:
        """Write a checkpoint: first the files, then what is remembered of them; the ledger's commit is the moment that
        counts."""
        state = self.state
        state.sizes, state.report = self.shards.sync(), self.report.data
        state.seconds = time.monotonic() - self.started_at
        state.stream = part.state() if part is not None else None
        self._measure()
        self.ledger.commit(dict(state.__dict__))
        folder = self.run.begin_checkpoint(state.read)
        (folder / "report.json").write_text(json.dumps(self.report.finished(), ensure_ascii=False), encoding="utf-8")
        self.run.commit_checkpoint(state.read, keep=1)
        self._say(part)

    def _measure(self) -> None:
        now, (earlier, before) = time.monotonic(), self.last_mark
        self.last_mark = (now, self.state.read)
        if self.state.read > before:
            self.run.log_metrics(
                self.state.read,
                kept_share=self.report.kept_share,
                documents_per_second=(self.state.read - before) / max(now - earlier, 1e-9),
                kept_megabytes=self.report.data["kept"]["bytes"] / 1e6,
                peak_memory_gb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
                seconds=self.state.seconds,
            )

    def _say(self, part: Part | None) -> None:
        """Report how far it is; with a source of unknown length there is no end to foretell."""
        self.last_said = time.monotonic()
        if part is None:
            self.run.progress("Cleaned", self.state.read, self.state.read, 0.0)
            return
        share, seconds = self._share_done(part), time.monotonic() - self.started_at
        if not share:
            self.run.progress("Cleaning", self.state.read, 0, math.inf)
            return
        total = max(round(self.state.read / share), self.state.read)
        self.run.progress("Cleaning", self.state.read, total, seconds / share * (1 - share))

    def _share_done(self, part: Part) -> float | None:
        """Return the share done by the bytes of the files; by rows where a source has none; None when one has
        neither."""
        most = self.config.max_documents
        if not all(p.size or p.rows or most for p in self.parts):
            return None
        weights = [p.size for p in self.parts] if all(p.size for p in self.parts) else [1] * len(self.parts)
        part_share = max(
            part.position / part.size if part.size else 0.0,
            self.state.row / part.rows if part.rows else 0.0,
            self.state.taken.get(part.source, 0) / most if most else 0.0,
        )
        done = sum(weights[: self.state.part]) + weights[self.state.part] * min(part_share, 1.0)
        return done / sum(weights)


def finish(run: RunDirectory, state: State, evaluation: Passages) -> None:
    """Commit the dataset under its name, and report on it. Raises RecipeFailure when next to nothing is left."""
    report = Report([], state.report).finished()
    kept_documents = report["kept"]["documents"]
    if kept_documents < FEWEST_DOCUMENTS:
        raise RecipeFailure(
            "nothing_left", f"Of {report['read']['documents']} documents {kept_documents} were kept.", _why(report)
        )
    if not run.dataset.is_dir():
        run.commit_dataset()
    fields: dict[str, Any] = {"texts": evaluation.texts, "too_short": evaluation.too_short}
    run.finish(
        {
            "documents": report["read"]["documents"],
            "kept_documents": kept_documents,
            "kept_share": report["kept"]["bytes"] / max(report["read"]["bytes"], 1),
            "megabytes": report["kept"]["bytes"] / 1e6,
            "validation_documents": report["validation"]["documents"],
            "seconds": state.seconds,
            "hash": corpus_hash(run.dataset),
            "counts": counts_of(report),
            "report": {**report, "evaluation": fields},
        }
    )


def counts_of(report: Row) -> Row:
    """Return the dataset's counts: what it holds, and what was left out and why."""
    removed = {rule["title"]: rule["removed"]["documents"] for rule in report["rules"] if rule["removed"]["documents"]}
    return {
        "documents": report["kept"]["documents"],
        "train": report["train"]["documents"],
        "validation": report["validation"]["documents"],
        "bytes": report["kept"]["bytes"],
        "sentence": _sentence(report),
        "left_out": removed,
    }


def _sentence(report: Row) -> str:
    read_counts, kept_counts = report["read"], report["kept"]
    return (
        f"{kept_counts['documents']:,} of {read_counts['documents']:,} documents, {kept_counts['bytes'] / 1e6:,.1f} of "
        f"{read_counts['bytes'] / 1e6:,.1f} MB, were kept after cleaning."
    )


def _why(report: Row) -> str:
    if not report["read"]["documents"]:
        return "The sources have no text: check them, and text_field."
    worst = max(report["rules"], key=lambda rule: rule["removed"]["documents"], default=None)
    if worst is None or not worst["removed"]["documents"]:
        return "Add more sources, or set documents to split a file into several."
    return (
        f"Most were removed by {worst['name']} ({worst['reasons'][0][0]}): relax the rule or switch it off, or add "
        "more sources."
    )


if __name__ == "__main__":
    run_recipe(main)
