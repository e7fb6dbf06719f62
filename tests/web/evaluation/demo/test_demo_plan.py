"""What the demo asks of the runs that it queues."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from evaluation.demo import training_stages
from evaluation.demo.plan import Plan, Turn
from tests.support.factories import make_user
from tests.support.training.runs import make_weights
from training import configs


@pytest.mark.django_db
def test_its_finetuning_holds_examples_out_and_keeps_the_step_that_does_best_on_them(project, monkeypatch) -> None:
    fields: dict[str, Any] = {}
    monkeypatch.setattr(training_stages, "dataset", lambda *_, **__: SimpleNamespace(counts={}))
    monkeypatch.setattr(training_stages, "_counts", str)
    monkeypatch.setattr(
        training_stages, "finished_run", lambda *_, **order: fields.update(order) or SimpleNamespace(output_model="sft")
    )
    researcher = make_user(project, role="researcher")
    training_stages.finetune(Turn("http://here", project, researcher, Plan(), base=make_weights()), lambda *_: None)
    config = configs.parse("sft", fields["config"])
    assert config.held_out > 0 and config.keep == "best"
    assert config.evaluate_every <= 16 / 2, "of some sixteen steps there is one to choose"
