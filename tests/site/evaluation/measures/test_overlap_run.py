"""From the queue to the price of a child: workers measure two tiny models on a task, and pages set them apart."""

from __future__ import annotations

import json

import pytest
from django.core.cache import cache
from django.urls import reverse

from annotate.models import Dataset, Project
from evaluation.models import Evaluation
from tests.support import tiny_model
from tests.support.factories import make_user
from training.models import Run
from training.runs.ordering.actions import queue_run
from training.runs.worker import Worker

QUESTION = "which river flows past the old town hall before it meets the sea at the harbour, number {}?"


def dataset(project: Project, name: str, kind: str, rows: list[dict], **fields) -> Dataset:
    made = Dataset.objects.create(
        project=project, name=name, kind=kind, content_hash=f"{len(name):064x}", **{"side": "eval", **fields}
    )
    made.path.mkdir(parents=True)
    (made.path / "items.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return made


@pytest.mark.thorough
@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_two_models_on_one_task_from_the_queue_to_their_difference(client, project, base, child):
    cache.clear()
    questions = [QUESTION.format(" ".join([str(i)] * 9)) for i in range(12)]
    rows = [
        {
            "id": f"q{i}",
            "prompt": [{"role": "user", "content": q}],
            "references": ["The Seine does.", "It is the Seine."],
        }
        for i, q in enumerate(questions)
    ]
    task = dataset(project, "rivers", "task", rows, counts={"form": "references", "items": 12})
    seen = dataset(
        project, "what the child read", "sft", [{"prompt": rows[3]["prompt"], "completion": "Yes."}], side="train"
    )
    researcher = make_user(project, role="researcher")
    Run.objects.create(
        project=project, kind="sft", name="made it", parent=base, dataset=seen, output_model=child,
        state=Run.State.SUCCEEDED, created_by=researcher,
    )  # fmt: skip
    for seed, model in enumerate((base, child)):
        tiny_model.make_elsewhere(model.path, seed)
        model.content_hash = f"{seed}" * 64
        model.save()
        run = queue_run(
            kind="evaluate", project=project, name=f"on {model}", by=researcher, parent=model, other_dataset=task,
            config={"measure": "overlap", "max_new_tokens": 12, "batch_size": 12},
        )  # fmt: skip
        Worker(name="test").work(once=True)
        run.refresh_from_db()
        assert run.state == Run.State.SUCCEEDED, run.reason
    figures = {e.metric: e for e in Evaluation.objects.filter(model=child, run=run)}
    assert set(figures) >= {"BLEU", "chrF2", "ROUGE-L", "METEOR"}
    chrf = figures["chrF2"]
    assert (chrf.task, chrf.n, chrf.clean["n"]) == ("rivers", 12, 11), "the child has read one of the questions"
    assert "model 111111111111" in chrf.signature
    page = client.get(reverse("compare", args=[project.slug]), {"models": f"{base.pk},{child.pk}"}).content.decode()
    assert "Without items seen in training" in page
    assert "chrF2" in client.get(reverse("tax", args=[child.pk])).content.decode()
