"""Present an evaluation run: its figures with their intervals, by group, and the way to its items."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from evaluation.measures.present import figure_formats
from evaluation.measures.present.figure_formats import Shown
from evaluation.measures.present.shown_items import is_blind
from evaluation.metrics import definitions

if TYPE_CHECKING:
    from training.models import Run

MOST_GROUPS = 60


@dataclass(frozen=True)
class Line:
    """One metric of the whole, or of a group, with the same without items that were seen in training."""

    name: str
    shown: Shown
    clean: Shown | None


def context(run: Run) -> dict[str, Any]:
    result = run.result or {}
    if not isinstance(result.get("metrics"), dict):
        return {}
    lines = _lines(result["metrics"])
    groups = [(name, _lines(figures)) for name, figures in result.get("groups", {}).items()]
    names = {line.name for _, lines in groups for line in lines}
    has_items = (run.path / "items.jsonl").exists()
    heads = [name for name in dict.fromkeys([*(line.name for line in lines), *sorted(names)]) if name in names]
    return {
        "own_figures": True,  # a table of them says more than the list beside it
        "own_verdict": _verdict(lines[0]) if lines else "",
        "measured": _merged(lines),
        "group_heads": heads,
        "measured_groups": [_under(heads, *group) for group in groups[:MOST_GROUPS]],
        "more_groups": max(0, len(groups) - MOST_GROUPS),
        "measured_notes": result.get("notes", []),
        "measured_task": run.other_dataset.name if run.other_dataset else result.get("task", ""),
        "measured_n": result.get("n"),
        "contaminated": result.get("contaminated") or 0,
        "too_short": result.get("too_short") or 0,
        "has_clean": any(line.clean for line in lines),
        "has_items": has_items and not is_blind(run),
        "has_blind_items": has_items and is_blind(run),
        "measured_signature": result.get("signature", ""),
    }


def _under(heads: list[str], group: str, lines: list[Line]) -> tuple[str, int, list[Line | None]]:
    """Return the group with its n, and its figures in the order of the heads: some metrics tell nothing of some
    groups."""
    by_name = {line.name: line for line in lines}
    return group, max((line.shown.n for line in lines), default=0), [by_name.get(head) for head in heads]


def _verdict(line: Line) -> str:
    """Say the leading figure in the numbers that the table below has."""
    interval = f" (95 % interval {line.shown.interval})" if line.shown.interval else ""
    unit = f" {line.shown.unit}" if line.shown.unit else ""
    return f"It measured {line.name}: {line.shown.text}{unit}{interval} on {line.shown.n:,} items."


def _lines(figures: dict[str, Any]) -> list[Line]:
    """Return the figures in the order of their definitions, others behind them: Postgres keeps none."""
    places = {name: place for place, name in enumerate(definitions.METRICS)}
    return [
        Line(name, figure_formats.of_result(name, figure), _clean(name, figure))
        for name, figure in sorted(figures.items(), key=lambda one: places.get(one[0], len(places)))
        if isinstance(figure, dict) and figure.get("value") is not None
    ]


def _merged(lines: list[Line]) -> list[Line]:
    """Return lines that say the same as one, under all their names.

    Where the endings of every item are as long as each other, accuracy per character is accuracy once more.
    """
    by_figure: dict[tuple[Any, ...], list[Line]] = {}
    for line in lines:
        figure = replace(line.shown, name=""), line.clean and replace(line.clean, name="")
        by_figure.setdefault(figure if line.shown.interval else (line.name,), []).append(line)
    return [replace(same[0], name=", ".join(sorted(line.name for line in same))) for same in by_figure.values()]


def _clean(name: str, figure: dict[str, Any]) -> Shown | None:
    """Return the figure without seen items, only where it differs: without a seen item the two are one."""
    clean = figure.get("clean") or {}
    if clean.get("value") is None or clean.get("n") == figure.get("n"):
        return None
    return figure_formats.of_result(name, clean)
