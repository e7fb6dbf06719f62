"""Rounds as two lines: ratings over the first model, and the accuracy of reward models on the newest answers. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from common.charts.rating_charts import Series, line_chart
from common.charts.scene import Svg, svg

Point = tuple[float, float, float, float]


def rating_line(points: Sequence[Point]) -> Svg | None:
    """Return points (round, value, lower, upper) over the first model; None where there are no two."""
    return _line(
        points, "rating", "Rating of each round's model over the first; the table has the numbers", "points", 0
    )


def accuracy_line(rows: Sequence[tuple[int, dict[str, Any]]]) -> Svg | None:
    """Return the accuracy before fitting, (round, figure), in percent; None where there are no two."""
    points = []
    for number, figure in rows:
        value = figure.get("value")
        if value is not None:
            ends = [value if figure.get(name) is None else figure[name] for name in ("lower", "upper")]
            points.append((float(number), 100 * value, 100 * ends[0], 100 * ends[1]))
    title = "Accuracy of the reward model before each round on its newest comparisons; the table has the numbers"
    return _line(points, "accuracy", title, "%", 50)


def _line(points: Sequence[Any], name: str, title: str, unit: str, zero: float) -> Svg | None:
    if len(points) < 2:
        return None
    ticks = [(point[0], f"round {point[0]:.0f}" if point[0] else "first") for point in points]
    return svg(line_chart([Series(name, list(points))], title, unit, ticks, zero))
