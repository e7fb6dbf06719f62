"""What alignment cost: the panel of a lineage, its changes, and what is queued to complete it."""

from __future__ import annotations

import csv
import io

import numpy as np
import pytest
from django.core.cache import cache
from django.urls import reverse

from evaluation.measures import alignment_tax as tax
from tests.support.evaluation.measured import items, measured, right
from tests.support.factories import make_model, make_user
from tests.support.training.runs import make_dataset
from training.models import Run


@pytest.fixture(autouse=True)
def without_memory():
    cache.clear()


@pytest.fixture
def ppo(child):
    return make_model(name="tide-ppo", stage="PPO", parent=child)


def losses(level: float, n: int = 60) -> list[dict[str, list[float]]]:
    """Texts of 50 tokens that are hard alike for every model, with a little noise of its own."""
    hard, noise = np.random.default_rng(0), np.random.default_rng(int(1000 * level))
    return [
        {"perplexity": [50 * (level + float(h) + float(e)), 50.0]}
        for h, e in zip(hard.normal(0, 0.5, n), noise.normal(0, 0.05, n), strict=True)
    ]


@pytest.fixture
def lineage(project, base, child, ppo):
    """Better at riddles with every stage, and worse at foreseeing texts from SFT to PPO."""
    for model, share, level in ((base, 1, 3.0), (child, 2, 3.0), (ppo, 3, 3.2)):
        measured(project, model, "riddles", items(right([1] * share + [0] * (4 - share)) * 15))
        measured(project, model, "the shelf", items(losses(level)), measure="perplexity")
    return base, child, ppo


def row_of(found: tax.Panel, metric: str) -> tax.Row:
    (row,) = [row for row in found.rows if row.metric == metric]
    return row


def test_stages_run_from_the_base_and_leave_tokenizers_out(project, base, child, ppo):
    base.parent = make_model(name="bytes", kind="tokenizer")
    base.save()
    assert tax.chain(ppo) == [base, child, ppo]


def test_each_stage_is_set_against_its_parent_and_the_base(project, lineage):
    panel = tax.panel(lineage[-1], project)
    accuracy = row_of(panel, "accuracy")
    assert [cell.figure and cell.figure.value for cell in accuracy.cells] == [0.25, 0.5, 0.75]
    assert accuracy.cells[0].to_parent is None
    assert accuracy.cells[1].to_base is None, "its parent is the base: said once"
    last = accuracy.cells[2]
    assert last.to_parent and last.to_parent.difference.value == pytest.approx(0.25)
    assert last.to_base and last.to_base.difference.value == pytest.approx(0.5)
    assert panel.tests == 6


def test_a_price_is_seen_that_two_separate_intervals_would_hide(project, lineage):
    base, _, last = row_of(tax.panel(lineage[-1], project), "perplexity").cells
    assert base.figure and last.figure and base.figure.upper and last.figure.lower
    assert base.figure.upper > last.figure.lower, "each alone is too uncertain to tell them apart"
    assert last.to_base and last.to_base.verdict == "worse"
    assert last.to_base.difference.lower and last.to_base.difference.lower > 0


def test_the_change_that_a_promotion_rule_asks_for(project, lineage):
    _, child, ppo = lineage
    change = tax.change(ppo, child, "the shelf", "perplexity", project)
    assert change and change.lower and change.lower > 0
    assert (change.higher_is_better, change.n) == (False, 60)
    assert tax.change(ppo, child, "the shelf", "BLEU", project) is None
    assert tax.change(ppo, child, "elsewhere", "perplexity", project) is None
    assert tax.change(ppo, child, "the shelf", "perplexity") == change


def test_other_items_are_not_subtracted(client, project, base, child):
    measured(project, base, "riddles", items(right([1, 0] * 20)))
    measured(project, child, "riddles", items(right([1, 0] * 19)))
    cell = row_of(tax.panel(child, project), "accuracy").cells[1]
    assert cell.figure is not None
    assert cell.to_parent is None
    assert "not the same" in cell.reason
    assert tax.change(child, base, "riddles", "accuracy", project) is None
    assert "not compared: measured on other items" in client.get(reverse("tax", args=[child.pk])).content.decode()


def test_runs_with_other_settings_are_passed_over_where_there_are_like_ones(project, base, child):
    for model in (base, child):
        measured(project, model, "riddles", items(right([1, 1, 0, 0] * 10)), max_length=1024)
    measured(project, child, "riddles", items(right([0] * 40)), max_length=64)
    change = tax.change(child, base, "riddles", "accuracy", project)
    assert change is not None
    assert change.value == 0
    assert [missing.model for missing in tax.panel(child, project).missing] == [base], "as the newest was measured"


def test_what_was_measured_with_other_settings_is_not_subtracted(client, project, base, child):
    measured(project, base, "riddles", items(right([1, 1, 0, 0] * 10)), max_length=1024)
    measured(project, child, "riddles", items(right([0] * 40)), max_length=64)
    assert tax.change(child, base, "riddles", "accuracy", project) is None
    (_, cell) = row_of(tax.panel(child, project), "accuracy").cells
    assert cell.to_parent is None
    assert "max_length was 1024 for tide-base, 64 for tide-sft" in cell.reason
    page = client.get(reverse("tax", args=[child.pk]), {"project": project.slug}).content.decode()
    assert "not compared: measured on other items or with other settings" in page


def test_the_page_says_the_price_in_words_and_in_pictures(client, project, lineage, vote):
    base, child, ppo = lineage
    vote(base, child, "model_b", 8)
    vote(child, ppo, "model_b", 8)
    page = client.get(reverse("tax", args=[ppo.pk])).content.decode()
    assert "tide-ppo against tide-base: worse beyond doubt in perplexity on the shelf (+" in page
    assert page.count('<svg class="tax"') == 3
    assert "arena rating" in page
    assert "not rated" not in page


def test_a_lineage_without_figures_says_what_to_do(client, project, base, child):
    page = client.get(reverse("tax", args=[child.pk])).content.decode()
    assert "No stage of this lineage was measured" in page


def test_a_model_without_parent_has_nothing_to_be_set_against(client, project, base):
    measured(project, base, "riddles", items(right([1, 0] * 20)))
    page = client.get(reverse("tax", args=[base.pk])).content.decode()
    assert "has no parent here" in page


def test_downloads(client, project, lineage):
    ppo = lineage[-1]
    body = client.get(reverse("tax-download", args=[ppo.pk, "json"])).json()
    assert [stage["name"] for stage in body["stages"]] == ["tide-base", "tide-sft", "tide-ppo"]
    assert body["rows"][0]["stages"][2]["to_base"]["verdict"] in ("better", "worse")
    rows = list(csv.DictReader(io.StringIO(client.get(reverse("tax-download", args=[ppo.pk, "csv"])).content.decode())))
    assert len(rows) == 6
    assert client.get(reverse("tax-download", args=[ppo.pk, "xml"])).status_code == 404


def test_the_api_says_the_same(client, project, lineage):
    ppo = lineage[-1]
    client.force_login(make_user(project, role="annotator"))
    body = client.get(f"/api/v1/models/{ppo.pk}/tax/", {"project": project.slug}).json()
    assert body == client.get(reverse("tax-download", args=[ppo.pk, "json"])).json()
    assert client.get(f"/api/v1/models/{ppo.pk}/tax/").status_code == 400
    assert client.get("/api/v1/models/999999/tax/", {"project": project.slug}).status_code == 404


class TestWhatIsMissing:
    @pytest.fixture
    def one_sided(self, project, base, child):
        dataset = make_dataset(project, kind="task", side="eval")
        dataset.name, dataset.counts = "riddles", {"form": "choices", "items": 40}
        dataset.save()
        run = measured(project, child, "riddles", items(right([1, 0] * 20)))
        run.other_dataset = dataset
        run.save()
        for model in (base, child):
            model.path.mkdir(parents=True, exist_ok=True)
            (model.path / "config.json").write_text("{}")
        return run

    def test_stages_without_a_run_are_named(self, client, project, base, child, one_sided):
        (missing,) = tax.panel(child, project).missing
        assert (missing.model, missing.like, missing.is_under_way) == (base, one_sided, False)
        assert "tide-base on riddles" in client.get(reverse("tax", args=[child.pk])).content.decode()

    def test_a_researcher_has_them_measured_alike(self, client, project, base, child, one_sided):
        client.force_login(make_user(project, role="researcher"))
        page = client.get(reverse("tax", args=[child.pk])).content.decode()
        assert "Queue the missing measurements (1 run)" in page
        client.post(reverse("tax-measure", args=[child.pk]))
        queued = Run.objects.get(kind="evaluate", state=Run.State.QUEUED)
        assert (queued.parent, queued.other_dataset, queued.config) == (base, one_sided.other_dataset, one_sided.config)
        assert tax.panel(child, project).missing[0].is_under_way
        client.post(reverse("tax-measure", args=[child.pk]))
        assert Run.objects.filter(state=Run.State.QUEUED).count() == 1, "pressing again queues nothing twice"

    def test_nobody_else_can(self, client, project, child, one_sided):
        url = reverse("tax-measure", args=[child.pk])
        assert client.post(url).status_code in (302, 403, 404)
        client.force_login(make_user(project, role="annotator"))
        assert client.post(url).status_code == 403
        assert not Run.objects.filter(state=Run.State.QUEUED).exists()

    def test_when_items_have_changed_the_newest_ones_are_the_measure(self, project, base, child, ppo):
        for model in (base, child):
            measured(project, model, "riddles", items(right([1, 0] * 20)))
        measured(project, ppo, "riddles", items(right([1, 0] * 19)))
        assert {one.model for one in tax.panel(ppo, project).missing} == {base, child}
