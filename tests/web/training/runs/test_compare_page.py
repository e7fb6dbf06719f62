"""Runs side by side: the right curves over the right axis, and in what the runs differ."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone

from tests.support.factories import make_project, make_prompt, make_user
from tests.support.training.runs import make_dataset, make_run, make_weights
from training.models import Attempt, Metric, Run
from training.runs.figures import charts, curves, differences
from training.runs.figures.charts import Series
from training.runs.present import run_comparison as compare

pytestmark = pytest.mark.django_db
LOSS = curves.Curve("loss", "Loss", is_main=True)


def measured(project, *values: dict, start=None, seconds: float = 1.0, **fields) -> Run:
    run = make_run(project, **fields)
    start = start or timezone.now()
    Metric.objects.bulk_create(
        Metric(run=run, sequence=i, step=10 * i, values=v, time=start + timedelta(seconds=seconds * i))
        for i, v in enumerate(values, 1)
    )
    return run


def placed(run: Run, x: str):
    return compare._placed(run, compare._rows(run), x)


def page(client, project, *runs: Run, **query) -> str:
    response = client.get(reverse("compare-runs", args=[project.slug]), {"run": [run.pk for run in runs], **query})
    assert response.status_code == 200
    return response.content.decode()


def test_two_runs_open_on_all_the_curves_that_they_share(client, project):
    one = measured(project, {"loss": 3.0, "kl": 0.1}, {"loss": 2.0, "kl": 0.3}, name="one")
    two = measured(project, {"loss": 2.5, "kl": 0.2, "accuracy": 0.5}, {"loss": 2.25, "kl": 0.2}, name="two")
    text = page(client, project, one, two)
    assert re.findall(r'<figcaption><a href="\?[^"]*metric=(\w+)', text) == ["loss", "kl"]
    assert text.count('<svg class="curves"') == 2 and '<option value="" selected>all shared curves' in text
    assert "more shared curves" not in text


def test_one_curve_more_is_no_plural(client, project):
    names = ["loss", "kl", "entropy", "accuracy", "clip_frac", "approx_kl", "value_loss"]
    runs = [measured(project, dict.fromkeys(names, 1.0), dict.fromkeys(names, 2.0), name=name) for name in ("a", "b")]
    assert "<summary>1 more shared curve</summary>" in page(client, project, *runs)


def test_candidates_are_points_and_one_point_is_said(client, project):
    one = measured(project, {"cv_nll": 0.7, "loss": 1.0}, {"cv_nll": 0.6}, name="one")
    two = measured(project, {"cv_nll": 0.8, "loss": 2.0}, {"cv_nll": 0.5}, name="two")
    text = page(client, project, one, two)
    [picture] = re.findall(r'<svg class="curves".*?</svg>', text, re.S)
    assert picture.count("<circle") == 4 and picture.count('stroke="var(--line-1)"') == 0
    assert f"One point each. {one.pk} one: 1; {two.pk} two: 2." in text


def test_the_axis_of_a_share_goes_from_0_to_1():
    drawn = charts.picture([Series("a", ((0.0, 0.4), (1.0, 0.5)))], title="t", x_title="x", is_share=True)
    assert ">0</text>" in drawn and ">1</text>" in drawn


def test_the_same_prompt_has_an_answer_of_each_run(client, project):
    runs = [measured(project, {"loss": 1.0}, name=name) for name in ("one", "two")]
    for run, text in zip(runs, ("The Moon pulls.", "The Moon lifts."), strict=True):
        prompt = [{"role": "user", "content": "Why tides?"}]
        run.samples.create(sequence=1, step=5, prompt=prompt, completion=text)
        run.samples.create(sequence=2, step=5, prompt=[{"role": "user", "content": run.name}], completion="x")
    text = page(client, project, *runs)
    assert "The Moon <del>pulls</del>." in text and "The Moon <ins>lifts</ins>." in text
    assert text.count('class="prompt then-now"') == 1, "only what both were asked"
    make_prompt(project, "Why tides?", source="arena")
    assert "The Moon" not in page(client, project, *runs), "anybody reads this page"


def test_one_curve_has_its_table(client, project):
    one = measured(project, {"loss": 3.0}, {"loss": 2.0}, {"loss": 1.0}, name="one")
    two = measured(project, {"loss": 2.5, "accuracy": 0.5}, {"loss": 2.25, "accuracy": 0.6}, name="two")
    text = page(client, project, one, two, metric="loss")
    wide = re.search(r'<div class="wide-only">(.*?)</div>', text, re.S)[1]
    lines = re.findall(r'<polyline points="([^"]*)" fill="none" stroke="var\(--line-(\d)\)"[^>]*><title>([^<]*)', wide)
    assert [(colour, title) for _, colour, title in lines] == [("1", f"{one.pk} one"), ("2", f"{two.pk} two")]
    assert [len(points.split()) for points, _, _ in lines] == [3, 2]
    row = re.search(r'<td class="n">20</td><td class="n">([^<]*)</td><td class="n">([^<]*)</td>', text)
    assert row.groups() == ("2", "2.25")
    assert "2 runs compared" in text and '<option value="loss" selected>' in text
    other = page(client, project, one, two, metric="accuracy")
    assert '<option value="accuracy" selected>' in other and f"{two.pk} two</title>" in other
    assert f"{one.pk} one</title>" not in other, "it measured no accuracy"


def test_only_options_that_differ_are_listed(client, project):
    parent, data = make_weights(), make_dataset(project)
    same = {"parent": parent, "dataset": data}
    one = measured(project, {"loss": 1.0}, config={"steps": 5}, **same)
    two = measured(project, {"loss": 1.0}, config={"steps": 9}, seed=3, **same)
    found = {line.name: line.values for line in differences.choices([one, two])}
    assert found == {"steps": ("5", "9"), "seed": ("0", "3")}
    text = page(client, project, one, two)
    assert '<th scope="row">steps</th><td>5</td><td>9</td>' in text and "checkpoint_every" not in text


def test_runs_alike_are_said_to_be(client, project):
    parent = make_weights()
    runs = [measured(project, {"loss": 1.0}, parent=parent) for _ in range(2)]
    assert "No difference in options" in page(client, project, *runs)


def test_seconds_leave_out_the_time_between_attempts(project):
    start = timezone.now()
    run = measured(project, {"loss": 3.0}, {"loss": 2.0}, start=start, seconds=2.0)
    later = start + timedelta(hours=5)
    Metric.objects.create(run=run, sequence=3, step=30, values={"loss": 1.0}, time=later + timedelta(seconds=7))
    for number, (begun, ended) in enumerate([(start, start + timedelta(seconds=6)), (later, None)], 1):
        attempt = Attempt.objects.create(
            run=run, number=number, worker="w", launcher="l", lease_expires_at=start, state="lost", ended_at=ended
        )
        Attempt.objects.filter(pk=attempt.pk).update(started_at=begun)
    [series] = [compare._series(run, placed(run, "seconds"), LOSS)]
    assert [x for x, _ in series.points] == [2.0, 4.0, 13.0]


def test_tokens_are_counted_or_come_from_the_pace(project):
    counted = measured(project, {"loss": 2.0, "tokens": 512}, {"loss": 1.0, "tokens": 1024})
    paced = measured(
        project, {"loss": 2.0, "tokens_per_second": 100}, {"loss": 1.0, "tokens_per_second": 300}, seconds=2.0
    )
    xs = [[x for x, _ in compare._series(r, placed(r, "tokens"), LOSS).points] for r in (counted, paced)]
    assert xs == [[512.0, 1024.0], [0.0, 600.0]], "the first row began the clock"


def test_a_wrong_address_is_as_if_nothing_was_asked(client, project):
    run = measured(project, {"loss": 1.0})
    elsewhere = measured(make_project(), {"loss": 1.0})
    text = page(client, project, run, elsewhere, metric="nonsense", x="sideways", smooth="9999", log="1")
    assert f"{run.pk} {run.name}" in text and reverse("run", args=[elsewhere.pk]) not in text
    assert (
        "Choose two or more runs"
        in client.get(reverse("compare-runs", args=[project.slug]), {"run": "x"}).content.decode()
    )
    assert "has curves yet" in page(client, project, make_run(project))


def test_a_private_project_keeps_its_curves(client):
    private = make_project(is_public=False)
    client.force_login(make_user())
    assert client.get(reverse("compare-runs", args=[private.slug])).status_code == 404


def test_many_runs_have_colours_of_their_own_then_dashes():
    series = [Series(str(i), ((0.0, i), (1.0, i + 1))) for i in range(12)]
    drawn = charts.picture(series, title="Loss", x_title="Step")
    assert len(set(re.findall(r"--line-\d", drawn))) == 8 and drawn.count("stroke-dasharray") == 4


def test_a_picture_stays_inside_its_frame_and_escapes_names():
    series = Series("<b>", ((0.0, -5.0), (10.0, 1e6), (20.0, 3.0)))
    for is_log in (False, True):
        drawn = charts.picture([series], title="t", x_title="x", width=400, height=300, is_log=is_log)
        assert "<b>" not in drawn and "&lt;b&gt;" in drawn
        for x, y in re.findall(r"(-?[\d.]+),(-?[\d.]+)", re.search(r'points="([^"]*)"[^>]*><title>', drawn)[1]):
            assert 0 <= float(x) <= 400 and 0 <= float(y) <= 300
    assert charts.picture([Series("one", ((3.0, 2.0),))], title="t", x_title="x").count("<circle") == 1
    assert charts.picture([Series("zero", ((3.0, 0.0),))], title="t", x_title="x", is_log=True) == ""


def test_smoothing_begins_at_the_first_value_and_follows_a_constant():
    flat = charts.smoothed(Series("s", tuple((float(i), 2.0) for i in range(50))), 20)
    assert all(abs(y - 2.0) < 1e-12 for _, y in flat.points)
    noisy = charts.smoothed(Series("s", tuple((float(i), float(i % 2)) for i in range(200))), 20)
    assert abs(noisy.last - 0.5) < 0.06


def test_a_run_lies_beside_the_one_it_was_cloned_from_and_the_one_that_made_its_parent(client, project):
    child = make_weights()
    data, more = make_dataset(project, kind="sft"), make_dataset(project, kind="sft")
    more.counts = {"prompts": 40}
    more.save()
    first = measured(
        project, {"loss": 1.0}, kind="sft", state="succeeded", dataset=data, output_model=child, result={"loss": 2.5}
    )
    clone = measured(
        project,
        {"loss": 1.0},
        kind="sft",
        state="succeeded",
        dataset=more,
        result={"loss": 2.0, "x": "word"},
        cloned_from=first,
        parent=first.parent,
        config={"epochs": 3.0},
    )
    grandchild = measured(project, {"score": 1.0}, kind="ppo", parent=child)
    [beside] = differences.of_run(clone)
    assert ("epochs", ("3.0", "–")) in [(line.name, line.values) for line in beside.choices]
    assert [(line.name, line.values) for line in beside.figures] == [("loss", ("2", "2.5"))]
    assert [(line.name, line.values) for line in beside.data] == [("prompts", ("40", "2"))]
    text = client.get(reverse("run", args=[clone.pk]), {"tab": "config"}).content.decode()
    assert "the run that it was copied from" in text and f"?run={first.pk}&amp;run={clone.pk}" in text
    [made] = differences.of_run(grandchild)
    assert (made.other, made.relation) == (first, "the run of its parent")


def test_the_list_has_a_box_for_each_run_that_leads_to_the_comparison(client, project):
    runs = [make_run(project) for _ in range(2)]
    text = client.get(reverse("runs", args=[project.slug])).content.decode()
    assert f'action="{reverse("compare-runs", args=[project.slug])}"' in text
    for run in runs:
        assert f'name="run" value="{run.pk}" aria-label="Compare run {run.pk}"' in text
