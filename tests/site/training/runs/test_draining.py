"""A worker with real recipes that is drained at once: its run goes on elsewhere, from its checkpoint."""

from __future__ import annotations

import pytest
from django.core.management import call_command

from tests.support.processes import until
from tests.support.training.cluster_runs import Working, has_steps, is_finished
from tests.support.training.runs import make_run
from training.models import Run

pytestmark = pytest.mark.django_db(transaction=True)


def test_another_worker_goes_on_from_the_checkpoint_of_one_that_was_drained_at_once():
    run = make_run(config={"steps": 100, "step_seconds": 0.05})
    with Working(name="gpu"):
        until(lambda: has_steps(run))
        call_command("drain_worker", "gpu", "--now")
        until(lambda: Run.objects.get(pk=run.pk).state == "queued")
        with Working(name="spare"):
            until(lambda: is_finished(run), 60)
    run.refresh_from_db()
    first, second = run.attempts.all()
    assert run.state == "succeeded" and (first.state, second.state) == ("cancelled", "succeeded")
    assert second.worker.startswith("spare@") and second.resumed_from_step >= 4
