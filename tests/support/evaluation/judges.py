"""Judge models with rubrics and verdicts, made directly."""

from __future__ import annotations

from typing import Any

from annotate.models import Completion, Project
from evaluation.models import JudgeModel, Rubric, Verdict
from tests.support.factories import make_model


def make_judge(project: Project, name: str = "the judge", *, form: str = "pairwise", **fields: Any) -> Rubric:
    """A judge with the first version of its rubric, which is returned."""
    model = fields.pop("model", None) or make_model(endpoint="http://127.0.0.1:9/v1", folder="", served_name="judge-1")
    judge = JudgeModel.objects.create(project=project, name=name, model=model, **fields)
    return make_rubric(judge, form=form)


def make_rubric(judge: JudgeModel, **fields: Any) -> Rubric:
    version = judge.rubrics.count() + 1
    return Rubric.objects.create(judge=judge, version=version, **{"text": f"Text {version}.", **fields})


def make_verdict(
    rubric: Rubric, a: Completion, b: Completion, a_first: str, b_first: str = "", **fields: Any
) -> Verdict:
    """What the judge says of `a` with each shown first; alike in both orders without `b_first`."""
    b_first = b_first or a_first
    if a.pk > b.pk:
        turned = {"model_a": "model_b", "model_b": "model_a"}
        a, b, a_first, b_first = b, a, turned.get(b_first, b_first), turned.get(a_first, a_first)
    winner = a_first if a_first == b_first else "tie"
    ends = {"prompt": a.prompt, "completion_a": a, "completion_b": b}
    return Verdict.objects.create(rubric=rubric, winner=winner, a_first=a_first, b_first=b_first, **ends, **fields)
