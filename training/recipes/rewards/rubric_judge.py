"""Grade answers by a judge model behind an endpoint, as a part of a reward.

Each answer of a batch is asked about once, as many at one time as the model's concurrency allows, on a scale from 1 to
10 (`common.judging.rubrics`). What it says is appended to judged-PART.jsonl, whole and on disk, before it counts: a run
that was killed asks nothing again, and gets the same grades; judge-batches-PART.jsonl has how many rows there were
after each batch, for the same means, and is on disk as early. judge-requests-PART.jsonl names every request when it
goes out. What passes is asked again (`annotate.core.chat_api.asking`); where a judge is lost for good, or its
`max_cost` is reached, the run fails in words, or the part counts as its mean so far, alike for the whole batch, so that
no answer gains by not being judged.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from decimal import Decimal
from pathlib import Path

import torch

from annotate.core.chat_api.asking import Asker, Refusal, Stopped
from annotate.core.chat_api.prices import cost_of
from annotate.core.chat_api.refusals import Kind
from common.atomic_files import sync_folder
from common.judging import rubrics
from common.judging.verdicts import grade_of
from training.configs.rewards.reward_parts import JudgePart
from training.core import run_secrets
from training.core.run_directory import (
    RecipeFailure,
    Row,
    RunDirectory,
    RunSpec,
    append_whole,
    drop_torn_line,
    read_lines,
)
from training.recipes.common import loading
from training.recipes.common.endpoints import endpoint_words
from training.recipes.common.endpoints.asked_endpoint import endpoint_of
from training.recipes.common.endpoints.endpoint_budget import Budget
from training.recipes.common.endpoints.request_ledger import Ledger
from training.recipes.rewards.part_scores import Answered, PartScore

MOST_UNREAD = 0.5  # of a batch's replies: beyond it the judge does not follow the rubric
_KEPT = 2000  # characters of a reply
# After all tries. Another refusal is of that answer alone, which may be too long for the judge or offend its provider.
_LOST = frozenset({Kind.FAILED, Kind.TIME_OUT, Kind.CUT, Kind.THROTTLED})


class RubricJudge:
    """Score answers by one judge. `name` is that of the part, under which the run knows the endpoint."""

    def __init__(self, run: RunDirectory, spec: RunSpec, part: JudgePart, name: str, key: str) -> None:
        settings = spec.endpoints[name]
        self.run, self.part, self.name, self.settings = run, part, name, settings
        prices = settings.get("prompt_price"), settings.get("completion_price")
        if part.max_cost is not None and None in prices:
            raise endpoint_words.no_prices()
        self.system = rubrics.system_text(rubrics.SCALE, part.rubric)
        self.path = run.path / f"judged-{name}.jsonl"
        drop_torn_line(self.path)
        kept = list(read_lines(self.path))
        self.row_by_key = {row["key"]: row for row in kept}
        # Rows, in their order: what an attempt before has kept beyond them comes later in the run.
        self._reached_by_batch = _read_batches(self._batches)
        self._reached = 0
        self.budget = Budget(None if part.max_cost is None else Decimal(str(part.max_cost)))
        self.budget.note(kept)
        endpoint = endpoint_of(settings, key, part.timeout)
        self.ledger = Ledger(run.path / f"judge-requests-{name}.jsonl", {row["request"] for row in kept}).__enter__()
        self.asker = Asker(endpoint, endpoint.client(), self.ledger.note, first_request=self.ledger.requests + 1)
        self._writing = threading.Lock()

    def __call__(self, answered: Answered) -> PartScore:
        pairs = list(zip(answered.prompts, answered.texts, strict=True))
        keys = [key_of(self.settings["model"], self.system, prompt, text) for prompt, text in pairs]
        waiting = {key: pair for key, pair in zip(keys, pairs, strict=True) if key not in self.row_by_key}
        failure = self._ask(waiting, len(set(keys)))
        if failure is not None and self.part.lost == "fail":
            raise failure
        self._note_reached(keys)
        values = torch.tensor([self._value(key) for key in keys], dtype=torch.float32, device=loading.device())
        if failure is not None:
            print(f"The part {self.name} counts as its mean so far: {failure.message}", flush=True)
            values = torch.full_like(values, self._mean())
        spent = torch.full_like(values, float(self.budget.spent))
        lost = torch.full_like(values, float(failure is not None))
        return PartScore(values, watched={"cost": spent, "lost": lost})

    def _value(self, key: str) -> float:
        """Return a grade as 0 to 1; the mean so far where the reply held none, or the judge refused that answer."""
        grade = self.row_by_key[key]["grade"] if key in self.row_by_key else None
        return self._mean() if grade is None else _as_share(grade)

    @property
    def _batches(self) -> Path:
        return self.run.path / f"judge-batches-{self.name}.jsonl"

    def _note_reached(self, keys: Sequence[str]) -> None:
        """Note how many of the rows had been there when this batch was judged first, by whichever attempt. A batch that
        none has ended comes after all that are noted."""
        batch, wanted = hashlib.sha256("".join(keys).encode()).hexdigest(), set(keys)
        if batch in self._reached_by_batch:
            self._reached = max(self._reached, self._reached_by_batch[batch])
            return
        places = [place for place, key in enumerate(self.row_by_key, 1) if key in wanted]
        self._reached = max([self._reached, *self._reached_by_batch.values(), *places]) or len(self.row_by_key)
        self._reached_by_batch[batch] = self._reached
        _append_to_disk(self._batches, {"batch": batch, "reached": self._reached})

    def _mean(self) -> float:
        """Return the mean of what had been graded by then: the same when a run goes on from an earlier checkpoint."""
        rows = itertools.islice(self.row_by_key.values(), self._reached)
        grades = [row["grade"] for row in rows if row["grade"] is not None]
        return _as_share(sum(grades) / len(grades)) if grades else 0.5

    def _ask(self, waiting: dict[str, tuple[list[Row], str]], total: int) -> RecipeFailure | None:
        """Ask about answers, by their keys, of `total` in the batch; return why not all of them have been judged. What
        comes meanwhile is kept: it is paid for."""
        todo = iter(waiting.items())
        under_way: set[Future[Row]] = set()
        failure: RecipeFailure | None = None
        refusals: list[Refusal] = []
        asked: list[Row] = []
        with ThreadPoolExecutor(self.asker.endpoint.concurrency) as pool:
            left = len(waiting)
            while True:
                while failure is None and left and len(under_way) < self.asker.endpoint.concurrency:
                    if not self.budget.allows(len(under_way)):
                        failure = None if under_way else _too_dear(self.name, self.part)
                        break
                    under_way.add(pool.submit(self._grade, *next(todo)))
                    left -= 1
                if not under_way:
                    break
                ready, under_way = wait(under_way, return_when=FIRST_COMPLETED)
                for future in ready:
                    try:
                        row = future.result()
                    except Stopped:
                        continue
                    except Refusal as refusal:
                        refusals.append(refusal)
                        if refusal.of_all or refusal.kind in _LOST:
                            failure = failure or endpoint_words.failure_of(refusal)
                        continue
                    asked.append(row)
                    self.row_by_key[row["key"]] = row
                    self.budget.note([row])
                if failure is None and self.budget.is_blind:
                    failure = endpoint_words.uncounted()
        if failure is None and len(refusals) > MOST_UNREAD * total:
            failure = endpoint_words.failure_of(refusals[0])
        return failure or _unreadable(asked)

    def _grade(self, key: str, pair: tuple[list[Row], str]) -> Row:
        """Return the judge's row, which the thread that got it has written already."""
        prompt, text = pair
        answer = self.asker.ask(
            {
                "messages": rubrics.messages_of(rubrics.SCALE, self.system, prompt, {"answer": text}),
                "max_tokens": self.part.max_tokens,
                "temperature": 0,
            }
        )
        reply = answer.choices[0].text
        prices = self.settings.get("prompt_price"), self.settings.get("completion_price")
        cost = cost_of(*prices, answer.prompt_tokens, answer.completion_tokens)
        row: Row = {
            "key": key,
            "grade": grade_of(reply, rubrics.LOWEST, rubrics.HIGHEST),
            "reply": reply[-_KEPT:],
            "request": answer.request,
            "cost": None if cost is None else str(cost),
        }
        with self._writing:
            _append_to_disk(self.path, row)
        return row


def judges_for(run: RunDirectory, spec: RunSpec, parts: dict[str, JudgePart]) -> dict[str, RubricJudge]:
    """Return the judges by the names of their parts, ready to be asked. Raises RecipeFailure."""
    if missing := [name for name in parts if name not in spec.endpoints]:
        raise RecipeFailure(
            "no_judge",
            f"The model {parts[missing[0]].judge} of the part {missing[0]} has no endpoint here.",
            "Give it one on its page, or queue the run again with another judge.",
        )
    keys = run_secrets.keys_for({name: spec.endpoints[name]["url"] for name in parts}) if parts else {}
    return {name: RubricJudge(run, spec, part, name, keys[name]) for name, part in parts.items()}


def judge_rows(run: RunDirectory, names: Iterable[str]) -> Row:
    """Return what result.json says of the judges: how many answers they graded, and what that cost."""
    judges = {}
    for name in names:
        rows = list(read_lines(run.path / f"judged-{name}.jsonl"))
        costs = [Decimal(row["cost"]) for row in rows if row["cost"] is not None]
        judges[name] = {
            "graded": sum(row["grade"] is not None for row in rows),
            "unread": sum(row["grade"] is None for row in rows),
            "cost": float(sum(costs)) if costs else None,
            "may_be_billed": Ledger(
                run.path / f"judge-requests-{name}.jsonl", {row["request"] for row in rows}
            ).may_be_billed,
        }
    return {"judges": judges} if judges else {}


def key_of(model: str, system: str, prompt: list[Row], text: str) -> str:
    """Return what a question to a judge is known by."""
    return hashlib.sha256(json.dumps([model, system, prompt, text]).encode()).hexdigest()


def _read_batches(path: Path) -> dict[str, int]:
    """Return how many rows there were after each batch, by the batch."""
    drop_torn_line(path)
    return {row["batch"]: row["reached"] for row in read_lines(path)}


def _append_to_disk(path: Path, row: Row) -> None:
    """Return when the row is on disk, and outlives a power cut."""
    is_new = not path.exists()
    with path.open("ab", buffering=0) as file:
        append_whole(file, json.dumps(row, ensure_ascii=False) + "\n")
        os.fsync(file.fileno())
    if is_new:
        sync_folder(path.parent)


def _as_share(grade: float) -> float:
    return (grade - rubrics.LOWEST) / (rubrics.HIGHEST - rubrics.LOWEST)


def _too_dear(name: str, part: JudgePart) -> RecipeFailure:
    return RecipeFailure(
        "judge_max_cost",
        f"The judge {part.judge} has reached the max_cost of the part {name}, {part.max_cost:g} dollars.",
        "Queue the run again with a higher max_cost, or with lost=without, which goes on without its grades.",
    )


def _unreadable(rows: list[Row]) -> RecipeFailure | None:
    unread = [row for row in rows if row["grade"] is None]
    if len(unread) <= MOST_UNREAD * len(rows):
        return None
    print(f"A reply of the judge without a grade: {unread[0]['reply'][:200]!r}", flush=True)
    return RecipeFailure(
        "judge_unreadable",
        f"{len(unread)} of {len(rows)} replies of the judge have no grade; the log has an example.",
        "Choose a judge that follows the rubric (it must end with [[1]] to [[10]]), or raise max_tokens.",
    )
