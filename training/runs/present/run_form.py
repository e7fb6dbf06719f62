"""Make the form of a new run from the dataclass of its kind: help, bounds and choices come with each field.

The form only turns what was typed into values. What is right is decided in one place, by `queue_run`.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from django import forms
from django.db.models import Model
from django.forms.boundfield import BoundField
from django.http import QueryDict

from annotate.core.errors import Refused
from annotate.data.datasets.selections import FROZEN_KINDS
from annotate.models import Dataset, LanguageModel, Project
from common import splits
from common.whole_numbers import row_id
from training import configs
from training.configs.forms import labels, layouts
from training.configs.forms.starting_points import StartingPoint, starting_points
from training.configs.options import types_of
from training.core.kinds import KINDS, Kind
from training.models import Run
from training.runs.ordering import actions
from training.runs.ordering import reward_functions as rewarding
from training.runs.ordering.checks import check_order
from training.runs.present.default_datasets import is_outdated, newest_dataset
from training.runs.present.default_models import newest_model, newest_pair, newest_reward_model

ROWS = ("parent", "dataset", "other_dataset", "reward_model")
_PREFIX = "config."
_NOT_CHOSEN = "choose one"


def suggested(
    project: Project, kind: str, earlier: Run | None = None, parent: LanguageModel | None = None
) -> dict[str, Any]:
    """Return a name that is still free, what the parent or the project sets, and all the choices of an earlier run."""
    number = (Run.objects.order_by("-pk").values_list("pk", flat=True).first() or 0) + 1
    name = f"{project.slug}-{kind}-{number}"
    if earlier is None:
        defaults = actions.defaults_of(kind, project, parent)
        return {"name": name, **{f"config.{option}": value for option, value in defaults.items()}}
    rows = {field: getattr(earlier, f"{field}_id") for field in ROWS}
    config = {f"config.{option}": value for option, value in configs.as_ordered(kind, earlier.config).items()}
    return {"name": name, "seed": earlier.seed, **rows, **config}


def earlier_run(project: Project, kind: str, number: str) -> Run | None:
    """Return the run that a link wants repeated: `?like=7`."""
    pk = row_id(number)
    return project.runs.filter(pk=pk, kind=kind).first() if pk else None


def boxes_in(query: QueryDict, config_class: Any) -> dict[str, bool]:
    """Return which boxes of a form that was sent are ticked: one that is not ticked is not in the address."""
    names = [_PREFIX + field.name for field in dataclasses.fields(config_class) if isinstance(field.default, bool)]
    return {name: name in query for name in names}


@dataclass(frozen=True)
class FieldGroup:
    """Fields under one heading of "All options". It opens by itself where one of them is wrong."""

    title: str
    fields: list[BoundField]

    @property
    def has_errors(self) -> bool:
        return any(field.errors for field in self.fields)


class RunForm(forms.Form):
    freezable = FROZEN_KINDS  # one click makes them of what is there
    apart: ClassVar[tuple[str, ...]] = ()  # fields that a page shows in a place of their own
    name = forms.CharField(max_length=120, help_text="also the name of the new model")

    def __init__(self, *args: Any, kind: Kind, project: Project, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.kind, self.project, self.config_class = kind, project, configs.CONFIGS[kind.name]
        if not kind.names_model:
            self.fields["name"].help_text = "shown in the list of runs"
        if kind.parent_kinds:
            parents = LanguageModel.objects.usable_in(project).available().filter(kind__in=kind.parent_kinds)
            parents = parents if kind.needs_weights is not None else parents.exclude(folder="")
            noun = "model" if "policy" in kind.parent_kinds else kind.parent_kinds[0]
            self.fields["parent"] = _choice(
                parents, f"the {noun} to start from", self._newest_parent(parents), _NOT_CHOSEN
            )
        if kind.dataset_kind:
            datasets = _datasets(kind, project)
            newest = newest_dataset(kind, datasets)
            self.fields["dataset"] = _choice(datasets, f"frozen {kind.dataset_kind}", newest, _NOT_CHOSEN)
        if kind.other_kinds:
            others = _of_kinds(kind, project, kind.other_kinds)
            self.fields["other_dataset"] = _choice(others, kind.other_purpose, None)
        if kind.takes_reward_model:
            help_text = "scores the answers" + (
                "; or choose a reward function under All options" if rewarding.names() else ""
            )
            fits = newest_reward_model(self._rewards(), project, self._begins_with())
            unset = _NOT_CHOSEN if kind.needs_reward_model else "none"
            self.fields["reward_model"] = _choice(self._rewards(), help_text, fits, unset)
        self.fields["seed"] = forms.IntegerField(initial=0, help_text="the same seed gives the same run")
        for field in dataclasses.fields(self.config_class):
            self.fields[_PREFIX + field.name] = _field(field, types_of(self.config_class)[field.name])
        if (function := f"{_PREFIX}reward_function") in self.fields:
            self._offer_functions(function)
        for name, shown in self.fields.items():
            shown.label = labels.label_of(kind.name, key_of(name))

    def _rewards(self) -> Any:
        return LanguageModel.objects.usable_in(self.project).available().reward_models().exclude(folder="")

    def _newest_parent(self, parents: Any) -> LanguageModel | None:
        """Return the newest model of the project; where a score is needed, the newest that has a reward model."""
        if self.kind.takes_reward_model and self.kind.needs_reward_model:
            return newest_pair(parents, self._rewards(), self.project)
        return newest_model(parents, self.project)

    def _begins_with(self) -> LanguageModel | None:
        """Return the parent that the form shows at first: what a link or an earlier run asked for, else the newest."""
        parents: Any = self.fields["parent"]
        wanted_parent = self.initial.get("parent")
        if isinstance(wanted_parent, LanguageModel):  # of an order that was read from a file
            wanted_parent = wanted_parent.pk
        if isinstance(wanted_parent, str):
            wanted_parent = row_id(wanted_parent)
        return parents.queryset.filter(pk=wanted_parent).first() if wanted_parent else parents.initial

    def _offer_functions(self, name: str) -> None:
        """Offer functions by name, those that the operator lists; with none listed there is nothing to ask."""
        offered = [("", "none: a reward model"), *((listed, listed) for listed in rewarding.names())]
        if len(offered) == 1:
            del self.fields[name]
        else:
            help_text = self.fields[name].help_text
            self.fields[name] = forms.ChoiceField(choices=offered, required=False, help_text=help_text)

    def order(self) -> dict[str, Any]:
        """Return the arguments of `queue_run`, of a form that is valid."""
        data = dict(self.cleaned_data)
        config = {name.removeprefix(_PREFIX): data.pop(name) for name in list(data) if name.startswith(_PREFIX)}
        return {**data, "config": config}

    def add_further_errors(self) -> None:
        """Add to what cannot be read what else is wrong, so that all stands there at once."""
        try:
            check_order(kind=self.kind.name, project=self.project, **self.partial_order())
        except Refused as refused:
            self.add_refusal(refused)

    def partial_order(self) -> dict[str, Any]:
        """Return the arguments of a check, of a form that is not valid: what cannot be read is left out."""
        data = {name: None for name in ROWS} | {"name": self["name"].value(), "seed": 0} | self.cleaned_data
        config = {name.removeprefix(_PREFIX): data.pop(name) for name in list(data) if name.startswith(_PREFIX)}
        return {**data, "config": config}

    def add_refusal(self, refused: Refused) -> None:
        """Add a refusal beside the field that it names; what cannot be read already says so itself."""
        unread = set(self.errors)
        for name, text in refused.errors.items():
            field, bracket, part = name.partition("[")
            if bracket and field in self.fields:  # part of an option, such as config.rewards[1].pattern
                name, text = field, f"{key_of(field)}[{part}: {text}"
            if name not in unread:
                self.add_error(name if name in self.fields else None, text)

    def first_fields(self) -> Iterator[BoundField]:
        """Return the fields that are shown at first, those of the layout, with the focus on the first that is wrong."""
        yield from (self._shown(name) for name in self._first_names())

    def advanced_fields(self) -> Iterator[BoundField]:
        """Return all other fields, group by group."""
        for group in self.field_groups():
            yield from group.fields

    def field_groups(self) -> list[FieldGroup]:
        """Return the other fields under their headings, in the order of the layout."""
        first, kind = set(self._first_names()), self.kind.name
        others = [name for name in self.fields if name not in first and name not in self.apart]
        groups = (
            FieldGroup(title, [self._shown(n) for n in others if layouts.group_of(kind, key_of(n)) == title])
            for title in layouts.group_titles()
        )
        return [group for group in groups if group.fields]

    def has_advanced_errors(self) -> bool:
        first = set(self._first_names())
        return any(name in self.fields and name not in first for name in self.errors)

    def methods(self) -> list[Kind]:
        """Return the kinds that share this form, such as DPO and KTO; none where it stands alone."""
        return [KINDS[name] for name in layouts.methods_beside(self.kind.name)]

    def fixed_options(self) -> dict[str, Any]:
        """Return options that the form's page has settled before: no field asks for them."""
        return {}

    def presets(self) -> tuple[StartingPoint, ...]:
        return starting_points(self.config_class)

    def _first_names(self) -> list[str]:
        names = (name if name in layouts.ROWS else _PREFIX + name for name in layouts.first_fields(self.config_class))
        return [name for name in names if name in self.fields]

    def _shown(self, name: str) -> BoundField:
        """Return the field; of those that are wrong, the first on the page has the focus."""
        shown = self[name]
        shown.key = key_of(name)  # type: ignore[attr-defined]  # read by form_field.html
        if name == self._first_wrong():
            shown.field.widget.attrs["autofocus"] = True
        return shown

    def _first_wrong(self) -> str | None:
        if not self.is_bound or not self.errors:
            return None
        first, kind = self._first_names(), self.kind.name
        titles = layouts.group_titles()
        others = sorted(
            (name for name in self.fields if name not in first),
            key=lambda name: titles.index(layouts.group_of(kind, key_of(name))),
        )
        return next((name for name in (*first, *others) if name in self.errors), None)

    def free_dataset_name(self) -> str:
        """Return a name for the dataset that this form lacks."""
        name, number = self.kind.dataset_kind, self.project.datasets.count() + 1
        while self.project.datasets.filter(name=f"{name} {number}").exists():
            number += 1
        return f"{name} {number}"

    def newest_is_outdated(self) -> bool:
        """Return whether a dataset that is frozen now would hold more than the newest one."""
        if self.kind.dataset_kind not in self.freezable or self.is_bound:
            return False
        return is_outdated(self.kind, self.project, _datasets(self.kind, self.project))

    def lacks(self) -> list[str]:
        """Return what must exist before such a run can be started: the names of fields with nothing to choose from."""
        required = [name for name in ("parent", "dataset") if name in self.fields]
        return [name for name in required if not typing.cast(Any, self.fields[name]).queryset.exists()]

    def lacks_reward_model(self) -> bool:
        """Return whether nothing is proposed or chosen that could score answers, and no function is listed."""
        needs_one = self.kind.takes_reward_model and self.kind.needs_reward_model
        has_parts = f"{_PREFIX}rewards" in self.fields and bool(self[f"{_PREFIX}rewards"].value())
        return needs_one and not has_parts and not rewarding.names() and not self["reward_model"].value()


def key_of(name: str) -> str:
    """Return what the API calls a field: an option without its prefix."""
    return name.removeprefix(_PREFIX)


def _datasets(kind: Kind, project: Project) -> Any:
    return _of_kinds(kind, project, (kind.dataset_kind,))


def _of_kinds(kind: Kind, project: Project, kinds: tuple[str, ...]) -> Any:
    datasets = Dataset.objects.filter(project=project, kind__in=kinds)
    return datasets.filter(side=splits.TRAIN) if kind.train_split_only else datasets


def _choice(queryset: Any, help_text: str, begin: Model | None, empty: str = "none") -> forms.ModelChoiceField:
    """Return a field; it is not required here, for `queue_run` says better what is missing. `begin` is chosen at
    first, `empty` says in words that nothing is."""
    return forms.ModelChoiceField(queryset, help_text=help_text, required=False, initial=begin, empty_label=empty)


def _field(field: dataclasses.Field, hint: Any) -> forms.Field:
    metadata = field.metadata
    allowed = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    kind = next(t for t in allowed if t is not type(None))
    common: dict[str, Any] = {"initial": field.default, "help_text": metadata.get("help", "")}
    if kind is bool:
        return forms.BooleanField(required=False, **common)
    if metadata.get("choices"):
        return forms.ChoiceField(choices=[(c, c) for c in metadata["choices"]], **common)
    common["required"] = type(None) not in allowed
    if kind in (int, float):
        low, high = metadata.get("low"), metadata.get("high")
        common["help_text"] += _range(low, high)
        bounds = {name: f"{value:g}" for name, value in (("min", low), ("max", high)) if value is not None}
        if kind is int:
            return forms.IntegerField(widget=forms.NumberInput(attrs=bounds), **common)
        return forms.FloatField(widget=forms.NumberInput(attrs={**bounds, "step": "any"}), **common)
    widget = forms.Textarea(attrs={"rows": 4, "spellcheck": "false"}) if metadata.get("multiline") else forms.TextInput
    return forms.CharField(**{**common, "required": False, "widget": widget})


def _range(low: float | None, high: float | None) -> str:
    """Return the bounds as a reader needs them; a bound that nobody will meet is not worth a word."""
    if low is None or high is None:
        return ""
    return f" (at least {low:g})" if high >= 10_000 else f" ({low:g} to {high:g})"
