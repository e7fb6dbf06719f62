"""What is shipped for Prometheus and Grafana asks for metrics that /metrics has, by labels that they have."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from annotate.core.metrics import counters, exposition
from annotate.core.metrics.readings import read_all

ROOT = Path(__file__).resolve().parents[3]
RULES = ROOT / "deploy/prometheus/alerts.yaml"
DASHBOARD = ROOT / "deploy/grafana/assay.json"
OF_PROMETHEUS = {"job", "instance", "le"}  # labels that it adds itself
_PARTS = ("_bucket", "_sum", "_count")


def families() -> dict[str, str]:
    """Return the type of each of our metrics at /metrics, by its name."""
    lines = exposition.text_of(read_all()).decode().splitlines()
    types = [line.split()[2:4] for line in lines if line.startswith("# TYPE assay_")]
    return {name: kind for name, kind in types if not name.endswith("_created")}


def labels() -> dict[str, set[str]]:
    """Return the labels of each of our metrics."""
    counted = {m._name: set(m._labelnames) for m in vars(counters).values() if hasattr(m, "_labelnames")}
    return counted | {reading.name: set(reading.labels) for reading in read_all()} | {"assay_database_up": set()}


def expressions() -> list[str]:
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    targets = [t for panel in json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"] for t in panel["targets"]]
    return [rule["expr"] for group in groups for rule in group["rules"]] + [target["expr"] for target in targets]


@pytest.mark.django_db
def test_rules_and_dashboard_name_metrics_that_exist_and_their_labels():
    known, of_metric = families(), labels()
    used: set[str] = set()
    for expression in expressions():
        for name, selector in re.findall(r"\b(assay_[a-z_]+)(?:\{([^}]*)\})?", expression):
            family = next(
                (name.removesuffix(p) for p in _PARTS if known.get(name.removesuffix(p)) == "histogram"), name
            )
            assert family in known, f"{name} in {expression}"
            assert (name == family) == (known[family] != "histogram"), f"{name} is a histogram: {expression}"
            used.add(family)
            named = set(re.findall(r"(\w+)\s*[!=]", selector))
            grouped = {label.strip() for by in re.findall(r"by \(([^)]*)\)", expression) for label in by.split(",")}
            assert named <= of_metric[family.removesuffix("_total")] | OF_PROMETHEUS, expression
            assert grouped <= set().union(*of_metric.values(), OF_PROMETHEUS), expression
    assert used == set(known), "each metric is shown or watched"


@pytest.mark.django_db
def test_the_guide_has_a_row_for_each_metric_with_its_labels():
    guide = (ROOT / "docs/guides/operating.md").read_text(encoding="utf-8")
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in guide.splitlines() if "| `assay_" in line]
    of_guide: dict[str, Any] = {}
    for names, kind, label_cell, _ in rows:
        told = {label.strip() for label in re.sub(r"\([^)]*\)", "", label_cell).split(",") if label.strip()}
        of_guide |= {name: (kind, told) for name in re.findall(r"`(\w+)`", names)}
    of_metric = labels()
    assert of_guide == {name: (kind, of_metric[name.removesuffix("_total")]) for name, kind in families().items()}


def test_each_alert_says_what_to_do_and_how_urgent_it_is():
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert len({rule["alert"] for rule in rules}) == len(rules) > 10
    for rule in rules:
        assert rule["labels"]["severity"] in ("page", "warn") and {"summary", "action"} == rule["annotations"].keys()
        assert rule["expr"].count("(") == rule["expr"].count(")")
