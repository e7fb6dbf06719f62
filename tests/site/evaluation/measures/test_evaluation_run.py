"""An evaluation from the queue to its figures: a real worker, a real recipe in a process of its own, a tiny model."""

import io
import json

import pytest
from django.urls import reverse

from annotate.data.uploads.actions import upload
from evaluation.measures.evaluations import queue_alike
from evaluation.models import Evaluation
from tests.support import tiny_model
from tests.support.factories import make_comparison, make_completion, make_prompt, make_user
from training.models import Run
from training.runs.ordering.actions import queue_run
from training.runs.worker import Worker


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_an_evaluation_leaves_figures_that_lead_back_to_its_run(client, project, base, child):
    for number in range(3):
        prompt = make_prompt(project, side="eval")
        answers = [make_completion(prompt, text, model=m) for text, m in (("Maybe.", base), (f"Yes, {number}!", child))]
        make_comparison(*answers, "model_b")
    tiny_model.make_elsewhere(base.path)
    run = queue_run(
        kind="evaluate", project=project, name="how well", by=make_user(project, role="researcher"), parent=base
    )
    Worker(name="test").work(once=True)
    run.refresh_from_db()
    assert run.state == Run.State.SUCCEEDED, run.reason
    figures = {e.metric: e for e in Evaluation.objects.filter(model=base, run=run)}
    assert set(figures) == {"perplexity", "word perplexity", "byte perplexity", "bits per byte"}
    perplexity = figures["perplexity"]
    assert 1 < perplexity.lower < perplexity.value < perplexity.upper
    assert perplexity.n == 3
    assert "perplexity" in client.get(reverse("run", args=[run.pk])).content.decode()
    assert "bits per byte" in client.get(reverse("model", args=[base.pk])).content.decode()


@pytest.mark.thorough
@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_a_task_file_measures_two_models_alike_from_upload_to_items(client, project, base, child):
    rows = [
        {"context": f"Number {n} is", "choices": ["even", "odd"], "answer": n % 2, "group": "low" if n < 3 else "high"}
        for n in range(6)
    ]
    file = io.BytesIO("".join(json.dumps(row) + "\n" for row in rows).encode())
    by = make_user(project, role="researcher")
    task = upload(project=project, kind="task", name="parity", file=file, file_name="parity.jsonl", by=by).dataset
    for seed, model in enumerate((base, child)):
        tiny_model.make_elsewhere(model.path, seed)
    runs = queue_alike(
        project=project, models=[base, child], name="parity", by=by, other_dataset=task, config={"measure": "choices"}
    )
    Worker(name="test").work(once=True)
    for run in runs:
        run.refresh_from_db()
        assert run.state == Run.State.SUCCEEDED, run.reason
    figures = Evaluation.objects.filter(metric="accuracy", group="")
    assert {(e.model, e.task, e.n) for e in figures} == {(base, "parity", 6), (child, "parity", 6)}
    assert len({e.items_hash for e in figures}) == 1  # so that they can be set item by item
    assert {e.group for e in Evaluation.objects.filter(run=runs[0])} == {"", "low", "high"}
    client.force_login(by)
    page = client.get(reverse("evaluations", args=[project.slug])).content.decode()
    assert "parity" in page and f"?runs={runs[0].pk},{runs[1].pk}" in page
    items = client.get(reverse("run-items", args=[runs[0].pk]) + "?group=high").content.decode()
    assert "Number 3 is" in items and "Number 0 is" not in items
    figure = figures.get(model=base)
    right = sum(json.loads(line)["counts"]["accuracy"][0] for line in (runs[0].path / "items.jsonl").open())
    assert figure.value == pytest.approx(right / 6)
