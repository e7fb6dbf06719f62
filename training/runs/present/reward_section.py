"""Present a reward run beside its figures: calibration, what the annotations are worth, the annotators."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from annotate.core.artefacts import local_copies
from annotate.models import User
from common.distributions import ROUNDED_Z95
from common.intervals import wilson
from common.texts import percent
from training.runs.figures import progress
from training.runs.present import interval_pictures as reward_pictures
from training.runs.present.interval_pictures import Point

if TYPE_CHECKING:
    from training.models import Run

FIGURES = {"pair_accuracy": "Pairs right", "thumbs_auc": "Thumbs, AUC", "stars_spearman": "Stars, correlation"}
CHANCE = {"pair_accuracy": 0.5, "thumbs_auc": 0.5, "stars_spearman": 0.0}
Row = dict[str, Any]


def context(run: Run) -> dict[str, Any]:
    """Return the context of the section: nothing before the run has ended, and little for runs that ended before these
    figures were taken."""
    result = run.result or {}
    held_out = result.get("held_out") or {}
    names = [name for name in FIGURES if held_out.get(name)]
    return {
        **_calibration(result.get("calibration") or {}),
        "reward_heads": [FIGURES[name] for name in names],
        "ablation": [_compared(row, names) for row in result.get("ablation") or []],
        **_curve(result.get("curve") or [], held_out, names),
        "layers": [_layers(row) for row in _with_verdict(result.get("candidates") or [])],
        "judges": _judges(result.get("judges") or {}, _authors(run)),
        "aspects": [_aspect(name, row) for name, row in (result.get("aspects") or {}).items()],
    }


def _calibration(calibration: Row) -> Row:
    bins = calibration.get("bins") or []
    if not bins:
        return {}
    lines, points = [], []
    for row in bins:
        low, high = wilson(round(row["observed"] * row["n"]), row["n"], ROUNDED_Z95)
        points.append(Point(row["predicted"], row["observed"], low, high))
        right = {"value": row["observed"], "lower": low, "upper": high}
        lines.append((percent(row["predicted"]), progress.with_interval(right), row["n"]))
    return {
        "calibration": reward_pictures.calibration(points),
        "calibration_rows": lines,
        "calibration_error": f"{calibration['error']:.3f}",
        "expected_ties": _ties(calibration.get("ties")),
    }


def _ties(row: Row | None) -> tuple[str, str] | None:
    """Return the share of ties, expected and observed; of runs from before this was measured None."""
    return (percent(row["predicted"]), percent(row["observed"])) if row else None


def _compared(row: Row, names: list[str]) -> Row:
    """Return a row of the ablation; what is lost against all annotations, where the interval leaves out 0, is
    marked."""
    losses = row.get("lost") or {}
    cells = []
    for name in names:
        loss = losses.get(name)
        is_significant = loss is not None and (loss["lower"] > 0 or loss["upper"] < 0)
        cells.append((_interval(row.get(name)), _interval(loss), is_significant))
    return {"name": row["name"], "judgements": row["judgements"], "cells": cells}


def _curve(rows: list[Row], held_out: Row, names: list[str]) -> Row:
    """Return the curve of the figure with most held-out annotations; the table has all."""
    if len(rows) < 2 or not names:
        return {}
    drawn_name = max(names, key=lambda name: held_out[name]["n"])
    points = [
        Point(row["judgements"], row[drawn_name]["value"], row[drawn_name]["lower"], row[drawn_name]["upper"])
        for row in rows
        if row.get(drawn_name)
    ]
    lines = [(row["judgements"], [_interval(row.get(name)) for name in names]) for row in rows]
    if len(points) < 2:
        return {}
    picture = reward_pictures.learning_curve(points, chance=CHANCE[drawn_name])
    return {"learning_curve": picture, "learning_rows": lines, "learning_name": FIGURES[drawn_name]}


def _with_verdict(rows: list[Row]) -> list[Row]:
    """Return the rows with a verdict. Older runs have a row for every penalty, without what is compared here: nothing
    is shown of these."""
    return [row for row in rows if "behind" in row]


def _layers(row: Row) -> Row:
    return {
        "named": ", ".join(
            f"{'mean' if pooling == 'mean' else 'last token'} of layer {at}" for at, pooling in row["features"]
        ),
        "ridge": f"{row['ridge']:g}",
        "nll": f"{row['nll']:.4f}",
        "accuracy": "" if row["accuracy"] is None else f"{row['accuracy']:.3f}",
        "behind": "" if row["is_best"] else f"{row['behind']:.4f} ± {row['error']:.4f}",
        "is_best": row["is_best"],
        "within": row["within"] and not row["is_best"],
    }


def _authors(run: Run) -> list[int]:
    """Return who the annotators are, in the order of the result's rows."""
    path = local_copies.glimpse(run.path / "judges.json")
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else []


def _judges(row: Row, authors: list[int]) -> Row:
    """Return the annotators. Names are for reviewers: the template asks."""
    rows = row.get("rows") or []
    usernames = dict(User.objects.filter(pk__in=authors).values_list("pk", "username"))
    names = [usernames.get(pk, "people without an account") for pk in authors]
    return {
        "alike": not row.get("reliability"),
        "compared": bool(row.get("trials")),
        "rows": [
            {
                "number": number,
                "name": names[number - 1] if len(names) == len(rows) else f"annotator {number}",
                "counts": [row["comparisons"], row["thumbs"], row["stars"]],
                "traits": [_interval(row[t]) for t in ("severity_thumbs", "severity_stars", "reliability")],
                "remark": row["remark"],
            }
            for number, row in enumerate(rows, start=1)
        ],
    }


def _aspect(name: str, row: Row) -> tuple[str, int, str, str]:
    return name, row["judgements"], _interval(row.get("spearman")), row.get("lack", "")


def _interval(figure: Row | None) -> str:
    if not figure:
        return ""
    return progress.with_interval({name: figure[name] for name in ("value", "lower", "upper")})
