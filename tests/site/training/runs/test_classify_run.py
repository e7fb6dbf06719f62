"""A classifier's run: what is recorded, and what its page shows to whom."""

from __future__ import annotations

from pathlib import Path

import pytest

from annotate.core.errors import Refused
from annotate.models import LanguageModel
from evaluation.models import Evaluation
from evaluation.promotion.run_receivers import figures_of_a_new_model
from tests.recipes.training.classify.test_recipe_classify import make_run
from tests.support import tiny_model
from tests.support.factories import make_model, make_project, make_user
from tests.support.training.runs import make_dataset, make_weights
from tests.support.training.runs import make_run as queue
from training.configs import ClassifyConfig
from training.core.run_directory import RunDirectory
from training.recipes.classify import __main__ as classify
from training.recipes.common import entry
from training.runs.ordering.actions import queue_run
from training.runs.queue.outputs import gather, record


@pytest.fixture(scope="module")
def parent(tmp_path_factory) -> Path:
    return tiny_model.make(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def recorded(db, parent, settings):
    """Trained where the run's directory lies, on reviews of which two bear the wrong label."""
    run = queue(make_project(), kind="classify", parent=make_model(), config=ClassifyConfig().__dict__)
    wrong = [{"text": "70 dull film 1", "label": "positive"}, {"text": "71 good film 1", "label": "positive"}]
    directory = make_run(run.path, parent, other=wrong, adapters="head")
    assert entry.attempt(classify.main, directory) == 0, directory.failure()
    record(run, gather(run, RunDirectory(run.path)))
    run.state = "succeeded"
    run.save()
    figures_of_a_new_model(run)
    return run


def test_it_is_registered_as_a_classifier_with_its_figures(recorded):
    model = recorded.output_model
    assert model.kind == LanguageModel.Kind.CLASSIFIER and model.stage == "classifier"
    assert (model.path / "classifier.json").is_file() and model.content_hash == recorded.result["hash"]
    assert model.card["metrics"]["labels"] == ["negative", "positive"]
    rows = {e.metric: e for e in Evaluation.objects.filter(model=model)}
    assert rows["held-out accuracy"].value == 0.5 and rows["held-out accuracy"].n == 2
    assert {"held-out macro f1", "held-out mcc", "held-out calibration error"} <= rows.keys()


def test_its_page_shows_the_matrix_to_all_and_the_texts_to_researchers(client, recorded):
    client.force_login(make_user(recorded.project, role="annotator"))
    html = client.get(f"/runs/{recorded.pk}/").content.decode()
    samples = f"/runs/{recorded.pk}/?tab=samples"
    assert "Confusion matrix of held-out texts" in html
    assert "70 dull film 1" not in html + client.get(samples).content.decode()
    client.force_login(make_user(recorded.project, role="researcher"))
    html = client.get(samples).content.decode()
    assert "70 dull film 1" in html and "in the data: positive" in html


def test_a_run_under_way_has_no_matrix_yet(client, db):
    run = queue(make_project(is_public=True), kind="classify", parent=make_model(), config=ClassifyConfig().__dict__)
    assert "Confusion matrix" not in client.get(f"/runs/{run.pk}/").content.decode()


@pytest.mark.parametrize(
    ("counts", "told"),
    [
        ({"task": "summarisation"}, "not labels"),
        ({"task": "sentiment", "labels": {"positive": 9}}, "'positive'"),
    ],
)
def test_the_queue_refuses_a_dataset_that_no_classifier_could_learn_from(db, counts, told):
    project = make_project()
    dataset = make_dataset(project, kind="labelled")
    dataset.counts = counts
    dataset.save()
    by = make_user(project, role="researcher")
    with pytest.raises(Refused, match=told) as refused:
        queue_run(kind="classify", project=project, name="c", by=by, parent=make_weights(), dataset=dataset)
    assert list(refused.value.errors) == ["dataset"]
    dataset.counts = {"task": "nli", "labels": {"entailment": 3, "neutral": 2}}
    assert queue_run(kind="classify", project=project, name="c", by=by, parent=make_weights(), dataset=dataset).pk
