"""Damaged files of every format are imported: each is refused with a reason, or imported with a count of its rows.

    python -m benchmarks.mutated_imports                    a thousand files of each format, on SQLite
    python -m tests.support.servers python -m benchmarks.mutated_imports     the same on Postgres
    python -m benchmarks.mutated_imports --files 20 --formats hh-rlhf argilla --seed 3

A few good rows of a format are damaged (`import_mutations`): cut, flipped, in other encodings, with odd values, NULs,
lone surrogates, deep nesting, keys that come twice, packed more than once, or as Parquet of foreign types; one file of
two hundred is small and unpacks to 60 MB. Each is sent to `POST imports/` and taken in as by the background worker. Of
each it is asked:

- The answer is no 5xx. A refusal names a field, and neither an import nor the file is kept.
- An import ends: done, or failed with a reason. What its counts say was added is what the tables have more.
- It takes less than a minute of the processor. Sent again (one of ten), it adds nothing.

At last everything is exported, and the largest memory is told. The exit status is 1 where a promise was broken.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import random
import resource
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.database import make_tables
from tests.support.processes import ROOT

SLOWEST = 60.0
BOMB_EVERY, AGAIN_EVERY = 200, 10
_BROUGHT = ROOT / "tests/support/annotate/brought"
_QUESTION = {"question_id": 81, "category": "writing", "turns": ["Write a line on rain.", "Now make it rhyme."]}
# Of formats that are only read.
_INCOMING: dict[str, list[dict[str, Any]]] = {
    "mt-bench": [
        _QUESTION,
        _QUESTION | {"answer_id": "a", "model_id": "alpha", "choices": [{"index": 0, "turns": ["Rain.", "Pain."]}]},
        _QUESTION | {
            **{"model_1": "alpha", "model_2": "beta", "g1_winner": "model_1", "g2_winner": "tie", "turn": 2},
            **{"judge": ["gpt-4", "pair-v2"], "g1_judgment": "[[A]]", "g2_judgment": "[[C]]", "tstamp": 1686000000.1},
            **{"answer_1": ["Rain.", "Pain."], "answer_2": ["Wet.", "Bet."]},
        },
    ],
    "answers": [
        {"prompt": "Why?", "response_a": "So.", "response_b": "Thus.", "model_a": "alpha", "model_b": "beta"},
        {"prompt": [{"role": "user", "content": "Who?"}], "response_a": "I.", "response_b": "You."},
    ],
    "examples": [
        {"instruction": "Add.", "input": "1 and 2", "output": "3"},
        {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]},
        {"question": "How?", "answer": "So."},
    ],
    "questions": [{"question": "Why is it so?", "category": "why"}, {"text": "What else?"}, _QUESTION],
    "table": [{"ask": f"Question {n}?", "good": f"Good {n}.", "bad": f"Bad {n}."} for n in range(5)],
}  # fmt: skip
_COLUMNS = "prompt=ask, chosen=good, rejected=bad"


@dataclass
class Tally:
    ends: Counter[str] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)
    slowest: float = 0.0


class Case:
    """The imports of one format into a project of its own."""

    def __init__(self, name: str, seed: int) -> None:
        from django.conf import settings

        from tests.support.api_client import Program
        from tests.support.factories import make_project, make_user

        self.name, self.draw = name, random.Random(f"{seed} {name}")
        self.project = make_project()
        self.program = Program(make_user(self.project, role="researcher"))
        self.rows = good_rows(name, seed)
        self.folder = settings.DATA_DIR / "imports"
        self.tally = Tally()

    def run(self, files: int) -> Tally:
        from benchmarks.import_mutations import bomb, mutated

        for n in range(files):
            make = bomb if n % BOMB_EVERY == BOMB_EVERY - 1 else mutated
            content, ending, what = make(self.rows, self.draw)
            began = time.process_time()
            try:
                problem = self._import(content, f"file-{n}.{ending}", is_repeated=n % AGAIN_EVERY == 0)
            except Exception:
                problem = traceback.format_exc()
            seconds = time.process_time() - began
            self.tally.slowest = max(self.tally.slowest, seconds)
            problem = problem or (f"took {seconds:.0f} s" if seconds > SLOWEST else "")
            if problem:
                self.tally.broken.append(f"{self.name}, file {n} ({what}, {len(content):,} bytes): {problem}")
        return self.tally

    def _import(self, content: bytes, name: str, *, is_repeated: bool) -> str:
        """Return which promise was broken, or nothing."""
        before, kept = self._stored(), set(self.folder.glob("*"))
        # Detected, or named: each reader sees what it was not made for.
        named = {"format": self.name} if self.name != "table" and self.draw.random() < 0.7 else {}
        answer = self._send(content, name, named)
        if answer.status_code >= 500:
            return f"answered {answer.status_code}: {answer.content[:300]!r}"
        if answer.status_code != 201:
            self.tally.ends[f"refused {answer.status_code}"] += 1
            return self._broken_refusal(answer, before, kept)
        import_ = self._carried_out(answer.json()["id"])
        self.tally.ends[import_.state] += 1
        if import_.state not in ("done", "failed") or (import_.state == "failed" and not import_.problem):
            return f"ended {import_.state!r}, {import_.problem!r}"
        added = self._stored() - before
        told = Counter({kind: import_.counts.get(kind, 0) for kind in self._tables()})
        if +added != +told:
            return f"told {dict(+told)}, added {dict(+added)}"
        return self._broken_repeat(content, name, named) if is_repeated and import_.state == "done" else ""

    def _send(self, content: bytes, name: str, named: dict[str, str]) -> Any:
        file = io.BytesIO(content)
        file.name = name
        sent = {"project": self.project.slug, "file": file, "source": self.name}
        sent |= {"columns": _COLUMNS} if self.name == "table" else named
        return self.program.http.post("/api/v1/imports/", sent, format="multipart")

    def _broken_refusal(self, answer: Any, before: Counter[str], kept: set[Path]) -> str:
        told = answer.json().get("errors")
        if not told or not all(isinstance(text, str) and text.strip() for text in told.values()):
            return f"refused without a reason: {answer.content[:300]!r}"
        if self._stored() != before or self.project.imports.filter(state="queued").exists():
            return "refused, and rows are kept"
        left = set(self.folder.glob("*")) - kept
        return f"refused, and {len(left)} files are kept" if left else ""

    def _broken_repeat(self, content: bytes, name: str, named: dict[str, str]) -> str:
        stored = self._stored()
        answer = self._send(content, name, named)
        if answer.status_code == 201:
            self._carried_out(answer.json()["id"])
        added = self._stored() - stored
        return f"sent again, it added {dict(added)}" if added else ""

    @staticmethod
    def _carried_out(pk: int) -> Any:
        from annotate.models import Import
        from tests.support.annotate.importing import carry_out

        return carry_out(Import.objects.get(pk=pk))

    @staticmethod
    def _tables() -> dict[str, Any]:
        from annotate import models

        tables = {
            "prompts": models.Prompt, "completions": models.Completion, "ratings": models.Rating,
            "rankings": models.Ranking, "demonstrations": models.Demonstration, "spans": models.Span,
            "flags": models.Flag, "attacks": models.Attack,
        }  # fmt: skip
        of_pairs = models.Comparison.objects.filter(ranking=None)  # a ranking brings its own, which are not told
        return {kind: table.objects for kind, table in tables.items()} | {"comparisons": of_pairs}

    def _stored(self) -> Counter[str]:
        return Counter({kind: rows.count() for kind, rows in self._tables().items()})


def good_rows(name: str, seed: int) -> list[dict[str, Any]]:
    """Return a few rows of a format as its own tools write them."""
    from annotate.data.formats import FORMATS
    from tests.support.annotate.odd_items import Odd

    if name == "fastchat-log":
        lines = (_BROUGHT / "fastchat_log.json").read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines][:8]
    if name not in FORMATS:
        return _INCOMING[name]
    odd, rows = Odd(seed), []
    while len(rows) < 8:  # a format has no place for some items
        for item in odd.all_kinds():
            if isinstance(item, FORMATS[name].holds):
                rows += FORMATS[name].writes([item])
    return rows[:8]


def formats() -> list[str]:
    from annotate.data.formats import READERS

    return [*READERS, "table"]


def _exported(case: Case) -> str:
    """Export all that came in, in Assay's own rows; return what failed."""
    from annotate.data.formats import FORMATS

    try:
        for name in ("assay", case.name):
            if name in FORMATS:
                answer = case.program.http.get(f"/api/v1/projects/{case.project.slug}/export/", {"format": name})
                if answer.status_code != 200 and case.project.prompts.exists():
                    return f"{case.name}: its export was refused: {answer.content[:300]!r}"
                list(answer if answer.status_code == 200 else ())
    except Exception:
        return f"{case.name}: its export failed: {traceback.format_exc()}"
    return ""


def cases(names: list[str], files: int, seed: int) -> Iterator[tuple[str, Tally]]:
    for name in names or formats():
        case = Case(name, seed)
        tally = case.run(files)
        if problem := _exported(case):
            tally.broken.append(problem)
        yield name, tally


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=1000, help="of each format")
    parser.add_argument("--formats", nargs="*", default=[])
    parser.add_argument("--seed", type=int, default=17)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="assay-mutated-") as folder:
        os.environ |= {"ASSAY_DATA": folder, "DJANGO_SETTINGS_MODULE": "config.settings", "LOG_LEVEL": "CRITICAL"}
        make_tables(os.environ)
        import django

        django.setup()
        from django.conf import settings

        settings.ALLOWED_HOSTS = ["*"]
        print("| format | files | done | failed | refused | slowest s | broken |\n|---|---:|---:|---:|---:|---:|---:|")
        broken = []
        for name, tally in cases(options.formats, options.files, options.seed):
            ends = tally.ends
            refused = sum(count for end, count in ends.items() if end.startswith("refused"))
            figures = f"{ends['done']} | {ends['failed']} | {refused} | {tally.slowest:.1f} | {len(tally.broken)}"
            print(f"| {name} | {options.files} | {figures} |", flush=True)
            broken += tally.broken
    megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(f"\nLargest memory: {megabytes:,} MB. Promises broken: {len(broken)}")
    for one in broken[:100]:
        print(f"\n{one}")
    return int(bool(broken))


if __name__ == "__main__":
    sys.exit(main())
