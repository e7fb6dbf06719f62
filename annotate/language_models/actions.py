"""Enter models into the registry, and into a project's arena."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from annotate.core import audit
from annotate.core.errors import Refused
from annotate.core.permissions import Person, can
from annotate.language_models import model_server
from annotate.models import Contestant, LanguageModel, Project, User

MAX_REASON_CHARACTERS = 200
NOT_HERE = "There is no such model that {project} may use; GET models/ lists those. Its own project can share it."


@transaction.atomic
def register_model(
    *,
    name: str,
    folder: str = "",
    endpoint: str = "",
    served_name: str = "",
    kind: str = LanguageModel.Kind.POLICY,
    parent: LanguageModel | None = None,
    stage: str = "base",
    licence: str = "",
    origin: str = "",
    parameters: int | None = None,
    content_hash: str = "",
    card: dict[str, Any] | None = None,
    by: User | None = None,
    project: Project | None = None,
    is_shared: bool = False,
) -> LanguageModel:
    """Return the model of that name. One that stands already with the same content is returned as it is; else 409.

    `project` is where somebody registers it; a run's model is of that run's project. `is_shared`: everybody's.
    """
    name, stage = name.strip(), stage.strip() or "base"
    _check(name, folder, endpoint, served_name, kind, stage)
    model = LanguageModel(
        name=name,
        folder=folder,
        endpoint=endpoint,
        served_name=served_name,
        kind=kind,
        parent=parent,
        stage=stage,
        licence=licence,
        origin=origin,
        parameters=parameters,
        content_hash=content_hash,
        card=card or {},
        created_by=by,
        project=project,
        is_shared=is_shared,
    )
    if project is not None and not (by and by.is_staff):
        _require_their_own(model, project)
    standing = LanguageModel.objects.filter(name=name).first()
    if standing is not None:
        is_open = project is None or LanguageModel.objects.usable_in(project).filter(pk=standing.pk).exists()
        if is_open and _content(standing) == _content(model):
            return standing
        raise Refused(409, name=f"There is another model named {name}; choose another name.")
    model.save()
    if by is not None:
        location = endpoint or folder
        audit.record(action="model.registered", about=f"{name} at {location}", by=by, project=project)
    return model


@transaction.atomic
def enter_arena(*, project: Project, model: LanguageModel, by: User | None = None) -> Contestant:
    """Enter the model into the arena from now on. Entering twice changes nothing; one that has left comes back.

    `by` is None for a run whose model competes as soon as it is made, and for a command."""
    if by is not None:
        require_usable(model, project)
    if model.kind != LanguageModel.Kind.POLICY:
        raise Refused(400, model=f"{model.name} is a {model.kind} and answers nothing; choose a policy.")
    if model.retired_at is not None:
        raise Refused(409, model=f"{model.name} is retired ({model.retired_reason}); choose another model.")
    competed = Contestant.objects.filter(project=project, model=model, left_at=None).exists()
    contestant, _ = Contestant.objects.update_or_create(project=project, model=model, defaults={"left_at": None})
    if not competed:
        audit.record(action="arena.entered", about=model.name, by=by, project=project)
    return contestant


@transaction.atomic
def leave_arena(*, project: Project, model: LanguageModel, by: User | None = None) -> None:
    """Take the model out of new battles here; those it has had stay and count."""
    left_count = Contestant.objects.filter(project=project, model=model, left_at=None).update(left_at=timezone.now())
    if not left_count:
        raise Refused(409, model=f"{model.name} does not compete in {project.name}.")
    audit.record(action="arena.left", about=model.name, by=by, project=project)


def require_usable(model: LanguageModel, project: Project) -> None:
    """Raises Refused, 404, for a model that is another project's alone: whoever asks is told no more."""
    if not LanguageModel.objects.usable_in(project).filter(pk=model.pk).exists():
        raise Refused(404, model=NOT_HERE.format(project=project.name))


def may_share(model: LanguageModel, by: Person) -> bool:
    """Return whether the person may share it: staff, and whoever manages the project that made or registered it."""
    return by.is_staff or any(can(by, "manage", home) for home in _homes_of(model))


@transaction.atomic
def share(*, model: LanguageModel, by: User, shared: bool = True) -> LanguageModel:
    """Let every project use the model, or, with `shared` False, only its own and those that have used it."""
    if not may_share(model, by):
        raise Refused(403, model="Staff and managers of the project that made it share a model; ask one.")
    if model.is_shared == shared:
        raise Refused(409, shared=f"{model.name} is {'' if shared else 'not '}shared with all projects already.")
    model.is_shared = shared
    model.save(update_fields=["is_shared"])
    _tell_trails(model, "model.shared" if shared else "model.unshared", by)
    return model


def _homes_of(model: LanguageModel) -> QuerySet[Project]:
    return Project.objects.filter(Q(registered_models=model) | Q(runs__output_model=model)).distinct()


def may_retire(model: LanguageModel, by: Person) -> bool:
    """Return whether the person may retire it: staff, and whoever manages every project that it competes in or was made
    in.

    What the operator registered for everybody is retired by staff alone.
    """
    if by.is_staff:
        return True
    if model.is_shared and not _homes_of(model).exists():
        return False
    projects = _projects_of(model)
    return projects.exists() and all(can(by, "manage", project) for project in projects)


def _projects_of(model: LanguageModel) -> QuerySet[Project]:
    of_it = Q(contestants__model=model) | Q(runs__output_model=model) | Q(registered_models=model)
    return Project.objects.filter(of_it).distinct()


@transaction.atomic
def retire(*, model: LanguageModel, reason: str, by: User) -> LanguageModel:
    """Retire the model: it starts no run and no battle any more; what points at it stays and counts."""
    if not may_retire(model, by):
        raise Refused(403, model="Staff retire models, and managers of all the projects it belongs to; ask one.")
    if model.retired_at is not None:
        raise Refused(409, model=f"{model.name} is retired already ({model.retired_reason}).")
    reason = reason.strip()
    if not reason or len(reason) > MAX_REASON_CHARACTERS:
        raise Refused(400, reason=f"Say why in 1 to {MAX_REASON_CHARACTERS} characters; whoever meets it will read it.")
    model.retire(reason=reason)
    _tell_trails(model, "model.retired", by, reason)
    return model


@transaction.atomic
def bring_back(*, model: LanguageModel, by: User) -> LanguageModel:
    """Bring a retired model back: it may start runs again, and competes where it had been entered and not taken out."""
    if not may_retire(model, by):
        raise Refused(403, model="Staff bring models back, and managers of all the projects it belongs to; ask one.")
    if model.retired_at is None:
        raise Refused(409, model=f"{model.name} is not retired.")
    model.bring_back()
    _tell_trails(model, "model.brought back", by)
    return model


def _tell_trails(model: LanguageModel, action: str, by: User, reason: str = "") -> None:
    projects: list[Project | None] = [*_projects_of(model)]
    for project in projects or [None]:
        audit.record(action=action, about=model.name, by=by, project=project, reason=reason)


def _require_their_own(model: LanguageModel, project: Project) -> None:
    """Raises Refused where a registration would reach another project's weights.

    The site's own server may load whatever folder it is asked for by name: so it is asked by a model's own folder.
    """
    if model.endpoint and model_server.is_own(model.endpoint):
        raise Refused(403, endpoint="It is this site's own server: give the folder of the weights, or ask the staff.")
    if model.folder and model.served_name:
        raise Refused(403, served_name="Only staff say by which name this site's own server is asked; leave it out.")
    if model.path is not None:
        here, usable = model.path.resolve(), LanguageModel.objects.usable_in(project).values("pk")
        others = LanguageModel.objects.exclude(folder="").exclude(pk__in=usable)
        for other in (settings.DATA_DIR / folder for folder in others.values_list("folder", flat=True)):
            if here.is_relative_to(other.resolve()) or other.resolve().is_relative_to(here):
                raise Refused(400, folder=f"There is no folder {model.folder} that {project.name} may use.")


def _content(model: LanguageModel) -> tuple[str, str, str, str]:
    """Return what makes two registrations the same model. Weights without a hash are told by their folder."""
    weights = model.content_hash or model.folder
    return (model.kind, weights, model.endpoint, model.served_name)


def _check(name: str, folder: str, endpoint: str, served_name: str, kind: str, stage: str) -> None:
    errors: dict[str, str] = {}
    if not name or len(name) > 120:
        errors["name"] = "Give a name of 1 to 120 characters."
    if kind not in LanguageModel.Kind.values:
        errors["kind"] = f"{kind!r} is not one of {', '.join(LanguageModel.Kind.values)}."
    if len(stage) > 24:
        errors["stage"] = "At most 24 characters, such as base, SFT or PPO."
    if bool(folder) == bool(endpoint):
        errors["folder"] = "Give either a folder with weights or an endpoint, and not both."
    elif folder and not (settings.DATA_DIR / folder).is_dir():
        errors["folder"] = f"There is no folder {folder} below ASSAY_DATA; import the model first."
    if endpoint and (urlsplit(endpoint).scheme not in ("http", "https") or not urlsplit(endpoint).hostname):
        errors["endpoint"] = "Give an address such as http://127.0.0.1:8000/v1."
    if endpoint and not served_name:
        errors["served_name"] = "Give the name under which the endpoint serves the model."
    if errors:
        raise Refused(400, **errors)
