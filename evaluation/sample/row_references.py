"""Translate the ids that rows hold outside of foreign keys: in JSON, in names of items, in counts."""

from __future__ import annotations

import json
from collections.abc import Callable

from evaluation.sample.fixture_files import Row

Ids = dict[str, dict[int, int]]  # new ids by table ("annotate.prompt") and old id


def translate(label: str, row: Row, ids: Ids) -> None:
    """Translate what this table holds besides its foreign keys, in place. Raises KeyError on an id of no row."""
    if change := _CHANGES.get(label):
        change(row, ids)


def translate_file(name: str, content: bytes, ids: Ids) -> bytes:
    """Return a run's file with the ids of this installation; most files name none."""
    if name.endswith("/judges.json"):
        return json.dumps([ids["annotate.user"][pk] for pk in json.loads(content)]).encode()
    return content


def _assignment(row: Row, ids: Ids) -> None:
    kind, _, numbers = row["item"].partition(":")
    table = ids["annotate.prompt" if kind == "write" else "annotate.completion"]
    new = sorted(table[int(number)] for number in numbers.split(":"))
    row["item"] = ":".join([kind, *map(str, new)])
    row["shown"] = [table[pk] for pk in row["shown"]]


def _ranking(row: Row, ids: Ids) -> None:
    row["order"] = [[ids["annotate.completion"][pk] for pk in group] for group in row["order"]]


def _status_change(row: Row, ids: Ids) -> None:
    row["feedback_id"] = ids[f"annotate.{row['kind']}"][row["feedback_id"]]


def _language_model(row: Row, ids: Ids) -> None:
    dataset = row["card"].get("dataset") if row["card"] else None
    if isinstance(dataset, dict) and "id" in dataset:
        dataset["id"] = ids["annotate.dataset"].get(dataset["id"], dataset["id"])


def _leaderboard(row: Row, ids: Ids) -> None:
    models, votes, ratings = ids["annotate.languagemodel"], ids["annotate.comparison"], row["ratings"]
    row["last_comparison_id"] = votes[row["last_comparison_id"]]
    for line in ratings["rows"]:
        line["model"] = models[line["model"]]
        if line.get("against"):
            line["against"]["model"] = models[line["against"]["model"]]
    ratings["totals"] = [[models[a], models[b], *rest] for a, b, *rest in ratings.get("totals", [])]
    last = ratings.get("intervals", {}).get("last_comparison_id")
    if last:
        ratings["intervals"]["last_comparison_id"] = votes[last]


def _evidence(row: Row, ids: Ids) -> None:
    """Translate models, the rule, and what was seen: of that only the rule and the last change of a status stay, for
    the counts are made anew and looked at anew."""
    evidence = row["evidence"]
    if seen := evidence.get("seen"):
        changes = ids["annotate.statuschange"]
        evidence["seen"] = [ids["evaluation.promotionrule"][seen[0]], "", changes.get(seen[2], 0), 0, 0, 0]
    if evidence.get("rule"):
        evidence["rule"] = ids["evaluation.promotionrule"][evidence["rule"]]
    for check in evidence.get("checks", []):
        if check.get("numbers", {}).get("other"):
            check["numbers"]["other"] = ids["annotate.languagemodel"][check["numbers"]["other"]]


def _held_watch(row: Row, ids: Ids) -> None:
    row["last_trace_id"] = ids["annotate.votetrace"].get(row["last_trace_id"], 0)


_CHANGES: dict[str, Callable[[Row, Ids], None]] = {
    "annotate.assignment": _assignment,
    "annotate.ranking": _ranking,
    "annotate.statuschange": _status_change,
    "annotate.languagemodel": _language_model,
    "annotate.heldwatch": _held_watch,
    "evaluation.leaderboard": _leaderboard,
    "evaluation.candidacy": _evidence,
    "evaluation.decision": _evidence,
}
