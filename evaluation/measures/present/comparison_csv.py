"""A comparison of models as CSV: a line for each metric and model."""

from __future__ import annotations

import csv
import io

from evaluation.core.csv_files import cell
from evaluation.measures.paired_comparison import Comparison

COLUMNS = (
    *("task", "measure", "items", "metric", "model", "run", "value", "lower", "upper", "n", "against", "difference"),
    *("difference_lower", "difference_upper", "standard_error", "p", "p_holm", "test", "verdict"),
)


def as_csv(comparison: Comparison) -> str:
    output = io.StringIO()
    writer = csv.writer(output, lineterminator="\n")
    writer.writerow(COLUMNS)
    for item_set, lines in (("all", comparison.lines), ("not seen in training", comparison.clean_lines)):
        for line in lines:
            for index, (run, figure, tested) in enumerate(zip(comparison.runs, line.figures, line.tested, strict=True)):
                f, d, reference = figure, tested.difference if tested else None, comparison.against[index]
                writer.writerow(
                    [
                        *map(cell, (comparison.task, comparison.measure, item_set, line.metric, str(run.parent))),
                        run.pk,
                        *((f.value, f.lower, f.upper, f.n) if f else [""] * 4),
                        cell(str(comparison.runs[reference].parent)) if reference is not None else "",
                        *((d.value, d.lower, d.upper, d.standard_error, d.p) if d else [""] * 5),
                        *((tested.adjusted, d.test, tested.verdict) if tested and d else [""] * 3),
                    ]
                )
    return output.getvalue()
