"""Ratings of the models that a run kept on its way, and of its result, over the steps: as a line and as a table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from common.charts.rating_charts import Series, line_chart
from common.charts.scene import Svg, svg
from evaluation.leaderboard.leaderboard_rows import Standing, standings
from evaluation.leaderboard.snapshots import current, default_annotator_kind
from training.models import Run


@dataclass(frozen=True)
class StepRatings:
    """Hold (step, row of the leaderboard) in the order of the steps, and a picture where there are two."""

    rows: list[tuple[int, Standing]]

    @property
    def picture(self) -> Svg | None:
        if len(self.rows) < 2:
            return None
        points = [(float(step), row.rating, row.lower, row.upper) for step, row in self.rows]
        title = "Ratings of the run's models over its steps; the table has the numbers"
        return svg(line_chart([Series("rating", points)], title, "points", [(x, f"step {x:.0f}") for x, *_ in points]))


def context(run: Run) -> dict[str, Any]:
    """Return what the overview of a run with kept checkpoints shows, once one of them is rated."""
    if not run.config.get("kept_checkpoints") or run.output_model_id is None:
        return {}
    step_of = dict(run.kept_checkpoints.values_list("model", "step"))
    board = current(project=run.project, judge=default_annotator_kind(run.project))
    rated = [row for row in standings(board) if row.is_connected]
    if not any(row.model.pk in step_of for row in rated):
        return {}
    last = next((run.result[name] for name in ("kept_step", "step", "steps") if name in run.result), run.step)
    step_of[run.output_model_id] = int(last)
    rows = [(step_of[row.model.pk], row) for row in rated if row.model.pk in step_of]
    return {"step_ratings": StepRatings(sorted(rows, key=lambda pair: pair[0]))}
