"""What one does next with what a run has made: links for the buttons of its overview."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlencode

from django.urls import reverse

from annotate.models import Contestant, LanguageModel
from training.models import Run


@dataclass(frozen=True)
class NextAction:
    """A link, or a button that posts `do`; `is_open` for whoever may read the project, else for researchers."""

    label: str
    address: str
    is_open: bool = False
    do: str = ""


def actions_of(run: Run, completions: int) -> list[NextAction]:
    """Return the most usual first; empty before the run has succeeded."""
    if run.state != Run.State.SUCCEEDED:
        return []
    model = run.output_model
    if model is not None and model.retired_at is None:
        return list(_with_model(run, model))
    return list(_with_data(run, completions))


def _with_model(run: Run, model: LanguageModel) -> Iterator[NextAction]:
    kinds = LanguageModel.Kind
    if model.kind == kinds.POLICY:
        yield NextAction("Evaluate", _new(run, "evaluate", parent=model.pk))
        if Contestant.objects.filter(project=run.project_id, model=model, left_at=None).exists():
            yield NextAction("Vote in the arena", reverse("arena", args=[run.project.slug]), is_open=True)
        else:
            entry = reverse("arena-entry", args=[run.project.slug, model.pk])
            yield NextAction("Enter it in the arena", entry, do="enter")
        yield NextAction("Train a reward model", _new(run, "reward", parent=model.pk))
        yield NextAction("Open playground", reverse("playground", args=[model.pk]))
    elif model.kind == kinds.REWARD:
        yield NextAction("Train a policy with PPO", _new(run, "ppo", parent=run.parent_id, reward_model=model.pk))
        yield NextAction("Evaluate", _new(run, "evaluate", parent=model.pk))
    elif model.kind == kinds.CLASSIFIER:
        yield NextAction("Label texts", _new(run, "label", parent=model.pk))
        yield NextAction("Evaluate", _new(run, "evaluate", parent=model.pk))
    elif model.kind == kinds.TOKENIZER:
        yield NextAction("Pretrain a model", _new(run, "pretrain", parent=model.pk))


def _with_data(run: Run, completions: int) -> Iterator[NextAction]:
    if run.output_dataset is not None:
        yield NextAction("Open the dataset", reverse("dataset", args=[run.output_dataset.pk]), is_open=True)
    elif completions:
        yield NextAction("Annotate the completions", reverse("annotate", args=[run.project.slug]))
    elif run.kind == "evaluate":
        yield NextAction("Compare with other models", reverse("evaluations", args=[run.project.slug]), is_open=True)


def _new(run: Run, kind: str, **values: object) -> str:
    query = urlencode({name: value for name, value in values.items() if value is not None})
    return f"{reverse('new-run', args=[run.project.slug, kind])}?{query}"
