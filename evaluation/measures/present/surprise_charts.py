"""Present an abnormal-texts run: how each group's scores lie, and the most surprising passages."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from annotate.core.artefacts import local_copies
from training.runs.figures.curves import number

if TYPE_CHECKING:
    from training.models import Run

WIDTH, BAND, LABELS = 640, 46, 150  # of the picture; a band for each group, its name to the left
TITLES = {"bits_per_byte": "Surprise", "difference": "Surprise above the parent's"}
UNITS = {"bits_per_byte": "bits per byte", "difference": "bits per byte, minus the parent's"}


@dataclass(frozen=True)
class Band:
    name: str
    y: int
    bars: list[tuple[float, float, float, float]]  # x, y, width, height


@dataclass(frozen=True)
class Chart:
    title: str
    unit: str
    bands: list[Band]
    height: int
    ticks: list[tuple[float, str]]
    bound: float  # x of the threshold
    rows: list[dict[str, Any]]


def context(run: Run) -> dict[str, Any]:
    result = run.result or {}
    if "histograms" not in result:
        return {}
    charts = [_chart(histogram, result["groups"]) for histogram in result["histograms"]]
    return {"charts": charts, "surprising": _examples(run)}


def _chart(histogram: dict[str, Any], groups: list[dict[str, Any]]) -> Chart:
    score, edges = histogram["score"], histogram["edges"]
    lower, upper = edges[0], edges[-1]

    def x(value: float) -> float:
        share = (min(max(value, lower), upper) - lower) / (upper - lower)
        return round(LABELS + share * (WIDTH - LABELS - 10), 1)

    bands = []
    for index, (name, counts) in enumerate(histogram["counts"].items()):
        tallest, floor = max(*counts, 1), (index + 1) * BAND - 6
        heights = [n / tallest * (BAND - 14) for n in counts]
        bars = [
            (x(edges[i]), round(floor - h, 1), round(x(edges[i + 1]) - x(edges[i]) - 0.6, 1), round(h, 1))
            for i, h in enumerate(heights)
            if h
        ]
        bands.append(Band(name, floor, bars))
    ticks = [(x(lower + share * (upper - lower)), number(lower + share * (upper - lower))) for share in (0, 0.5, 1)]
    rows = [{"name": g["name"], "n": g["n"], **g["scores"][score]} for g in groups]
    return Chart(TITLES[score], UNITS[score], bands, len(bands) * BAND + 22, ticks, x(histogram["bound"]), rows)


def _examples(run: Run) -> list[dict[str, Any]]:
    """Return examples, only for those who may read rows: the template asks."""
    path = local_copies.glimpse(run.path / "examples.json")
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
