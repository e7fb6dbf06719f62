"""The page of a reward run: every study as a table, pictures with them, names for reviewers alone."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest
from django.urls import reverse

from tests.support.factories import make_user
from tests.support.training.runs import make_run
from training import configs, consumers

pytestmark = pytest.mark.django_db


def figure(value: float, n: int = 40) -> dict:
    return {"value": value, "lower": value - 0.1, "upper": value + 0.1, "n": n, "prompts": 20}


def figures(value: float) -> dict:
    return {"pair_accuracy": figure(value), "thumbs_auc": figure(value, 80), "stars_spearman": None}


def trait(value: float) -> dict:
    return {"value": value, "lower": value - 0.2, "upper": value + 0.2, "stands_out": True}


def result_of(judges: int) -> dict:
    counts = {"comparisons": 12, "thumbs": 30, "stars": 0}
    rows = [
        {**counts, "severity_thumbs": trait(0.9), "severity_stars": None, "reliability": trait(0.3),
         "remark": "harsh"}
        for _ in range(judges)
    ]  # fmt: skip
    layers = {"ridge": 3.0, "accuracy": 0.7}
    return {
        "verdict": "On 20 prompts that it never saw: right.",
        "beats_chance": True,
        "held_out": {**figures(0.71), "slope": figure(0.9)},
        "calibration": {"error": 0.04, "ties": {"predicted": 0.31, "observed": 0.24, "n": 60},
                        "bins": [{"predicted": 0.6, "observed": 0.55, "n": 20},
                                                {"predicted": 0.9, "observed": 0.85, "n": 20}]},
        "ablation": [
            {"name": "pairs", "judgements": 60, **figures(0.6), "lost": figures(0.15)},
            {"name": "all", "judgements": 150, **figures(0.71)},
        ],
        "curve": [{"judgements": 75, **figures(0.65)}, {"judgements": 150, **figures(0.71)}],
        "candidates": [
            {**layers, "features": [[15, "mean"]], "nll": 0.602, "behind": 0.002, "error": 0.004, "is_best": False,
             "within": True},
            {**layers, "features": [[15, "mean"], [20, "last"]], "nll": 0.6, "behind": 0.0, "error": 0.0,
             "is_best": True, "within": True},
        ],
        "judges": {"shift": 1.0, "reliability": 0.6, "trials": [{}], "rows": rows},
        "aspects": {
            "helpful": {"judgements": 90, "lack": "", "spearman": figure(0.4)},
            "true": {"judgements": 9, "lack": "too few to learn from.", "spearman": None},
        },
    }  # fmt: skip


def page(client, project, result: dict, tab: str = "charts", authors: Sequence[int] = ()) -> str:
    run = make_run(project, kind="reward", state="succeeded", result=result)
    run.path.mkdir(parents=True, exist_ok=True)
    (run.path / "judges.json").write_text(json.dumps(list(authors)))
    run.config = configs.CONFIGS["reward"]().__dict__
    run.save()
    response = client.get(reverse("run", args=[run.pk]), {"tab": tab})
    assert response.status_code == 200
    return response.content.decode()


def test_every_study_is_a_table_and_pictures_have_theirs(client, project):
    html = page(client, project, result_of(1))
    assert html.count('<svg class="dots"') == 2
    for words in (
        "Observed", "pairs only", "<strong>0.15", "mean of layer 15, last token of layer 20", "chosen",
        "as good, within one standard error", "No head: too few to learn from.", "0.40 [0.30, 0.50]", "harsh",
        "It expects 31 % of these comparisons to be ties; 24 % are.",
    ):  # fmt: skip
        assert words in html


def test_judges_have_names_for_reviewers_and_numbers_for_others(client, project):
    judge = make_user(project, username="severus", role="annotator")
    result = result_of(1)
    for role, named in ((None, False), ("annotator", False), ("reviewer", True), ("researcher", True)):
        client.logout()
        if role:
            client.force_login(make_user(project, role=role))
        html = page(client, project, result, authors=[judge.pk])
        assert ("severus" in html) == named, role
        assert ("annotator 1" in html) != named, role


@pytest.mark.parametrize(("role", "named"), [("annotator", False), ("reviewer", True)])
def test_a_live_page_names_judges_to_the_same_people(project, role, named):
    judge = make_user(project, username="severus", role="annotator")
    run = make_run(project, kind="reward", state="succeeded", result=result_of(1))
    run.path.mkdir(parents=True)
    (run.path / "judges.json").write_text(json.dumps([judge.pk]))
    live = consumers.RunPage()
    live.scope = {"url_route": {"kwargs": {"run_id": run.pk}}, "user": make_user(project, role=role)}
    live.query = {"tab": "charts"}
    assert live.open()
    html, _ = live.updates()
    assert ("severus" in html, "annotator 1" in html) == (named, not named)


def test_a_run_from_before_these_studies_shows_what_it_has(client, project):
    old = {"calibration": {"bins": [], "error": None}, "held_out": figures(0.6),
           "candidates": [{"features": [[15, "mean"]], "ridge": 3.0, "nll": 0.6, "accuracy": 0.7}]}  # fmt: skip
    assert "0.60 [0.50, 0.70]" in page(client, project, old, "overview")
    html = page(client, project, old)
    assert "dots" not in html and "Layers and pooling" not in html
