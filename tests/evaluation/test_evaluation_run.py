"""An evaluation from the queue to its figures: a real worker, a real recipe in a process of its own, a tiny model."""

import pytest
from django.urls import reverse

from evaluation.models import Evaluation
from tests import tiny_model
from tests.factories import make_comparison, make_completion, make_prompt, make_user
from training.actions import queue_run
from training.models import Run
from training.worker import Worker


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
