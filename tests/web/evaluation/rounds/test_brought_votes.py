"""A round's gain is of the votes that were given here on what its models answered, and of no others."""

from __future__ import annotations

import pytest

from evaluation.rounds import actions
from tests.support.api_client import Program
from tests.support.evaluation.rounds import annotate, current, end_all
from tests.support.factories import make_comparison, make_completion, make_user

pytestmark = pytest.mark.django_db


def test_votes_and_answers_that_somebody_brings_along_close_no_round(project, order):
    series = actions.order(**order)
    end_all(project)
    annotate(current(series), current(series).needed)
    end_all(project)
    one = current(series)
    assert one.entered_at is not None
    manager = Program(make_user(project, role="manager"))
    prompt = series.questions.prompts.first()
    given = [make_completion(prompt, model=model, source="arena") for model in (one.model, one.policy)]
    row = {
        "project": project.slug, "completion_a": given[0].pk, "completion_b": given[1].pk, "winner": "model_a",
        "source": "a survey",
    }  # fmt: skip
    assert manager.post("comparisons/", [row] * 5).status_code == 201
    for _ in range(5):
        body = {"prompt": prompt.pk, "model": one.model_id, "text": "By hand, and far better."}
        by_hand = manager.post("completions/", body).json()["id"]
        better = one.model.completions.get(pk=by_hand)
        make_comparison(better, given[1], "model_a", make_user(project), source="arena")
    body = {
        "project": project.slug, "kind": "sample", "name": "another way", "parent": one.model_id,
        "dataset": series.questions_id, "config": {"system_prompt": "Answer as an expert."},
    }  # fmt: skip
    assert manager.post("runs/", body).status_code == 201
    end_all(project)
    other = project.runs.get(name="another way").completions.filter(prompt=prompt).first()
    make_comparison(other, given[1], "model_a", make_user(project), source="arena")
    path = f"projects/{project.slug}/rounds/{series.pk}/"
    shown = manager.get(path).json()
    assert " 0 of 10 votes" in shown["sentence"]
    make_comparison(*given, "model_a", make_user(project), source="arena")
    drawn = one.eval_run.completions.filter(prompt=prompt).first()
    make_comparison(drawn, given[1], "model_a", make_user(project), source="arena")
    assert " 2 of 10 votes" in manager.get(path).json()["sentence"]
