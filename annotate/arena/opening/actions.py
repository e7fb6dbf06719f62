"""Open an arena as its file says: make or change the project, register or change the models, ask each, enter each.

Whatever can be checked without a model's answer is checked before anything is written. Done again, it adds what is new,
changes what differs, and leaves alone what the file does not name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from django.core.exceptions import ValidationError
from django.utils.text import slugify

from annotate.arena.opening.arena_file import ArenaFile, ModelEntry
from annotate.core.errors import Refused
from annotate.language_models import changes, model_keys, registration
from annotate.language_models.actions import enter_arena, prepare_model
from annotate.language_models.endpoint_check import Checked, ask_one_question
from annotate.language_models.model_settings import ModelSettings
from annotate.models import Contestant, LanguageModel, Project, User
from annotate.projects import actions as projects

REGISTERED, CHANGED, SAME = "registered", "changed", "as it was"
_DEFAULT_NAME = "Arena"
EXTERNAL = "external"  # the stage of a model behind an address: whether it is a base nobody here knows
_SETTINGS = tuple(each.name for each in fields(ModelSettings))


@dataclass(frozen=True)
class Step:
    """What is done for one model: `what` is REGISTERED, CHANGED or SAME; `write` does it and returns the model."""

    entry: ModelEntry
    what: str
    fields: tuple[str, ...]
    write: Callable[[], LanguageModel]
    unsaved: LanguageModel  # as it will be asked, for a dry run


@dataclass(frozen=True)
class Plan:
    """`project` is not saved yet where `is_new`; `project_changes` are its settings that will change."""

    project: Project
    is_new: bool
    project_changes: dict[str, Any]
    guidelines: str
    steps: tuple[Step, ...]

    @property
    def changed(self) -> list[str]:
        """Return what changes of a project that stands, by name."""
        standing = self.project.guideline if self.guidelines else None
        differ = bool(self.guidelines) and (standing is None or standing.text != self.guidelines)
        return [*self.project_changes, *(["guidelines"] if differ else [])]


@dataclass(frozen=True)
class Outcome:
    """What was done for a model. `checked` is None where it was not asked."""

    name: str
    what: str
    fields: tuple[str, ...]
    checked: Checked | None
    competes: bool


def plan(file: ArenaFile, *, environment: Mapping[str, str], name: str = "", by: User | None = None) -> Plan:
    """Return what would be done. `name`, a project's name or slug, wins over the file's; a slug leaves a new project
    the file's name.

    Raises Refused with all that is wrong, by model, before anything is written. Looks names of servers up: not for a
    transaction."""
    project, is_new, project_changes = _project(file.project, name)
    errors: dict[str, str] = {}
    steps = []
    for entry in file.models:
        try:
            steps.append(_step(entry, project, environment, by))
        except Refused as refused:
            errors |= {f"{entry.name}: {field}": text for field, text in refused.errors.items()}
    if errors:
        raise Refused(400, **errors)
    return Plan(project, is_new, project_changes, file.project.get("guidelines", ""), tuple(steps))


def carry_out(plan: Plan, *, by: User | None, asks: bool) -> Iterator[Outcome]:
    """Do it, model by model. One that does not answer is registered and does not compete; the others go on."""
    _write_project(plan, by)
    for step in plan.steps:
        model = step.write()
        checked = ask_one_question(model, plan.project) if asks else None
        if checked is None or checked.is_ok:
            enter_arena(project=plan.project, model=model)
        competes = Contestant.objects.filter(project=plan.project, model=model, left_at=None).exists()
        yield Outcome(model.name, step.what, step.fields, checked, competes)


def rehearse(plan: Plan, *, asks: bool) -> Iterator[Outcome]:
    """Ask the models, and write nothing."""
    for step in plan.steps:
        checked = ask_one_question(step.unsaved, plan.project) if asks else None
        yield Outcome(step.entry.name, step.what, step.fields, checked, checked is None or checked.is_ok)


def left_alone(plan: Plan) -> list[str]:
    """Return the models that compete and do not stand in the file."""
    if plan.project.pk is None:
        return []
    named = [step.entry.name for step in plan.steps]
    others = Contestant.objects.filter(project=plan.project, left_at=None).exclude(model__name__in=named)
    return list(others.order_by("model__name").values_list("model__name", flat=True))


def _project(given: Mapping[str, Any], name: str) -> tuple[Project, bool, dict[str, Any]]:
    settings = {field: value for field, value in given.items() if field not in ("name", "slug", "public", "guidelines")}
    if "public" in given:
        settings["is_public"] = given["public"]
    of_file = given.get("name", "")
    slug = slugify(name) if name else given.get("slug") or slugify(of_file or _DEFAULT_NAME)
    title = (of_file if name in ("", slug) else "") or name or _DEFAULT_NAME
    if not slug:
        raise Refused(400, project=f"{title!r} makes no address; give a slug in plain letters, such as our-arena.")
    standing = Project.objects.filter(slug=slug).first()
    if standing is None:
        settings = {"is_public": True} | settings
        new = Project(slug=slug, name=title, **settings)
        _check(new)
        return new, True, settings
    if not name and given.get("name"):
        settings["name"] = given["name"]
    changed = {field: value for field, value in settings.items() if getattr(standing, field) != value}
    after = Project.objects.get(pk=standing.pk)
    for field, value in changed.items():
        setattr(after, field, value)
    _check(after)
    return standing, False, changed


def _check(project: Project) -> None:
    """Raises Refused, 400, with what is wrong with its fields, before anything is written."""
    try:
        project.full_clean(exclude=["created_by"])
    except ValidationError as error:
        errors = {f"project.{field}": " ".join(texts) for field, texts in error.message_dict.items()}
        raise Refused(400, **errors) from error


def _write_project(plan: Plan, by: User | None) -> None:
    project = plan.project
    if plan.is_new:
        made = projects.create_project(
            slug=project.slug, name=project.name, by=by, guidelines=plan.guidelines, **plan.project_changes
        )
        project.__dict__.update(made.__dict__)  # the models to be registered point at this object
        return
    if plan.project_changes:
        projects.change_settings(project=project, by=by, **plan.project_changes)
    if plan.guidelines:
        projects.revise_guidelines(project=project, text=plan.guidelines, by=by)


def _step(entry: ModelEntry, project: Project, environment: Mapping[str, str], by: User | None) -> Step:
    key = _key(entry, environment)
    standing = LanguageModel.objects.filter(name=entry.name).first()
    return _new(entry, project, key, by) if standing is None else _existing(entry, standing, key, by)


def _key(entry: ModelEntry, environment: Mapping[str, str]) -> str:
    variable = entry.text("key_from")
    if not variable:
        return ""
    if not (key := environment.get(variable, "").strip()):
        raise Refused(400, key_from=f"The environment variable {variable} is empty or not set; export {variable}=… .")
    return key


def _new(entry: ModelEntry, project: Project, key: str, by: User | None) -> Step:
    settings = replace(ModelSettings(), **_settings(entry))
    is_shared = bool(entry.given.get("shared", not key))
    texts: dict[str, Any] = {
        name: entry.text(name) for name in ("folder", "endpoint", "served_name", "licence", "origin")
    }
    stage = entry.text("stage") or ("base" if texts["folder"] else EXTERNAL)
    register = prepare_model(
        name=entry.name, stage=stage, **texts, key=key, settings=settings, by=by,
        project=None if is_shared else project, is_shared=is_shared,
    )  # fmt: skip
    endpoint = texts["endpoint"].rstrip("/")
    unsaved = LanguageModel(
        name=entry.name, folder=texts["folder"], endpoint=endpoint, served_name=texts["served_name"],
        sealed_key=model_keys.seal(key, endpoint),
    )  # fmt: skip
    settings.apply_to(unsaved)
    return Step(entry, REGISTERED, (), register, unsaved)


def _existing(entry: ModelEntry, standing: LanguageModel, key: str, by: User | None) -> Step:
    if entry.text("folder") not in ("", standing.folder):
        raise Refused(409, folder=f"{entry.name} stands with other weights ({standing.folder}); choose another name.")
    if standing.retired_at is not None:
        raise Refused(409, name=f"{entry.name} is retired ({standing.retired_reason}); bring it back, or rename it.")
    endpoint = (entry.text("endpoint") or standing.endpoint).rstrip("/")
    served_name = entry.text("served_name") or standing.served_name
    settings = replace(ModelSettings.of(standing), **_settings(entry))
    errors = registration.endpoint_errors(endpoint, served_name, key) | settings.errors()
    if errors:
        raise Refused(400, **errors)
    new_key = key if key and not model_keys.has_key(standing, key) else None
    changed = (
        ["endpoint"] * (endpoint != standing.endpoint)
        + ["served_name"] * (served_name != standing.served_name)
        + ["key"] * (new_key is not None)
        + [name for name in _SETTINGS if getattr(settings, name) != getattr(standing, name)]
    )
    if not changed:
        return Step(entry, SAME, (), lambda: standing, standing)
    change = changes.ModelChange(endpoint, served_name, settings, new_key)
    unsaved = LanguageModel.objects.get(pk=standing.pk)
    unsaved.endpoint, unsaved.served_name = endpoint, served_name
    if new_key is not None:
        unsaved.sealed_key = model_keys.seal(new_key, endpoint)
    settings.apply_to(unsaved)
    write = lambda: changes.change(model=standing, change=change, by=by)  # noqa: E731
    return Step(entry, CHANGED, tuple(changed), write, unsaved)


def _settings(entry: ModelEntry) -> dict[str, Any]:
    return {name: entry.given[name] for name in _SETTINGS if name in entry.given}
