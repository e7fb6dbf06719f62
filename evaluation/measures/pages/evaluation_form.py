"""Make the form of one measure: only the options that mean something for it, only models and datasets that suit it."""

from __future__ import annotations

import dataclasses
from typing import Any

from django import forms
from django.db.models import QuerySet
from django.http import QueryDict

from annotate.core.errors import Refused
from annotate.models import Dataset, LanguageModel, Project
from annotate.models.language_models import LanguageModelQuerySet
from evaluation.measures.catalogue import Measure
from training.configs.evaluate import EvaluateConfig
from training.core.kinds import KINDS
from training.runs.present.default_models import newest_model
from training.runs.present.run_form import RunForm, boxes_in

_PREFIX = "config."
_ROWS = ("parent", "other_dataset", "reward_model")


class EvaluationForm(RunForm):
    """Order an evaluation. `also` are further models that are measured alike, in a run of their own each."""

    apart = ("also",)

    def __init__(self, *args: Any, measure: Measure, project: Project, **kwargs: Any) -> None:
        super().__init__(*args, kind=KINDS["evaluate"], project=project, **kwargs)
        self.measure = measure
        for field in dataclasses.fields(EvaluateConfig):
            only = field.metadata["only"]
            if field.name == "measure" or (only and measure.name not in only):
                del self.fields[_PREFIX + field.name]
        models = models_for(measure, project)
        self._choose("parent", models, "the model to measure")
        self._choose("other_dataset", datasets_for(measure, project), f"the data; empty: {measure.default_data}")
        if measure.needs_dataset:
            self.fields["other_dataset"].help_text = "the data"
            self.fields["other_dataset"].initial = datasets_for(measure, project).first()
        if not measure.takes:
            del self.fields["other_dataset"]
        if measure.name in ("win_rate", "fluency"):
            only = "only if judged_by is reward" if measure.name == "win_rate" else "to score answers of both; optional"
            self.fields["reward_model"].help_text = only
            self.fields["reward_model"].initial = None
        else:
            del self.fields["reward_model"]
        own_models = models.of_projects([project])
        if measure.name == "win_rate":
            self._offer_opponents(project)
        self.fields["also"] = forms.ModelMultipleChoiceField(
            own_models, required=False, widget=forms.CheckboxSelectMultiple, label="Measure more models in the same way"
        )

    def _choose(self, name: str, queryset: Any, help_text: str) -> None:
        field: Any = self.fields[name]
        field.queryset, field.help_text = queryset, help_text
        if name == "parent":
            field.initial = newest_model(queryset, self.project)

    def _offer_opponents(self, project: Project) -> None:
        """Offer opponents by name, as a program gives it; an unknown name stays, and is refused in words."""
        policies = LanguageModel.objects.of_projects([project]).available().policies().order_by("name")
        names = list(policies.values_list("name", flat=True))
        typed = (self.data.get if self.is_bound else self.initial.get)("config.opponent") or ""
        choices = [("", "choose one"), *((name, name) for name in dict.fromkeys([*names, typed]) if name)]
        self.fields["config.opponent"].widget = forms.Select(choices=choices)

    def order(self) -> dict[str, Any]:
        """Return the arguments of `evaluations.queue_alike`, of a form that is valid."""
        order = super().order()
        parent, also = order.pop("parent"), order.pop("also")
        order["config"]["measure"] = self.measure.name
        return {**order, "models": [model for model in (parent, *also) if model is not None]}

    def fixed_options(self) -> dict[str, Any]:
        return {"measure": self.measure.name}

    def lacks_models(self) -> bool:
        return not models_for(self.measure, self.project).exists()

    def partial_order(self) -> dict[str, Any]:
        order = super().partial_order()
        order.pop("also", None)
        return {**order, "config": order["config"] | self.fixed_options()}

    def add_refusal(self, refused: Refused) -> None:
        renamed = {"parent" if name == "models" else name: text for name, text in refused.errors.items()}
        super().add_refusal(Refused(refused.status, **renamed))


def models_for(measure: Measure, project: Project) -> LanguageModelQuerySet:
    models = LanguageModel.objects.usable_in(project).available().filter(kind__in=measure.parents).order_by("-pk")
    return models if measure.name == "win_rate" else models.exclude(folder="")  # the others read its weights


def datasets_for(measure: Measure, project: Project) -> QuerySet[Dataset]:
    fitting = project.datasets.filter(kind__in=[kind for kind in measure.takes if kind != Dataset.Kind.TASK])
    tasks = project.datasets.filter(kind=Dataset.Kind.TASK, counts__form=measure.form)
    return (fitting | (tasks if Dataset.Kind.TASK in measure.takes else tasks.none())).order_by("-pk")


def values_in(query: QueryDict) -> dict[str, Any]:
    """Return what was typed so far, or what a link asks for, as initial values of a form."""
    fields: dict[str, Any] = {name: value for name, value in query.items() if _is_field(name)}
    if "also" in query:
        fields["also"] = query.getlist("also")
    if "sent" in query:
        fields |= boxes_in(query, EvaluateConfig)
    return fields


def carried(query: QueryDict, initial: dict[str, Any], form: EvaluationForm) -> list[tuple[str, Any]]:
    """Return (name, value) of options of other measures, so that to switch there and back loses nothing."""
    values = {**initial, **{name: value for name, value in query.items() if _is_field(name)}}
    return [
        (name, value)
        for name, value in values.items()
        if name not in form.fields and _is_field(name) and name != f"{_PREFIX}measure" and value not in (None, "")
    ]


def _is_field(name: str) -> bool:
    return name in (*_ROWS, "name", "seed") or name.startswith(_PREFIX)
