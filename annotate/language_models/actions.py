"""Enter models into the registry, and into a project's arena."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from annotate.core import audit
from annotate.core.errors import Refused
from annotate.core.permissions import Person, can
from annotate.language_models import model_keys, registration
from annotate.language_models.model_settings import ModelSettings
from annotate.models import Contestant, LanguageModel, Project, User
from common.texts import is_storable

MAX_REASON_CHARACTERS = 200
NOT_HERE = (
    "{project} cannot use this model; GET models/ lists the models that it can. The model's own project can share it."
)


def register_model(**fields: Any) -> LanguageModel:
    """Check and register a model at once; the fields are those of `prepare_model`."""
    return prepare_model(**fields)()


def prepare_model(
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
    key: str = "",
    settings: ModelSettings | None = None,
) -> Callable[[], LanguageModel]:
    """Check a registration, and return what registers it. The check looks the endpoint's name up: not for a
    transaction.

    What is registered is the model of that name. One that stands already with the same content is returned as it is;
    else 409.

    `key` is of its endpoint. `project` is where somebody registers it; a run's model is of that run's project.
    `is_shared`: everybody's.
    """
    name, stage, endpoint = name.strip(), stage.strip() or "base", endpoint.strip().rstrip("/")
    chosen_settings = settings or ModelSettings()
    registration.check(name, folder, endpoint, served_name, kind, stage, key, chosen_settings)
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
        sealed_key=model_keys.seal(key.strip(), endpoint),
    )
    chosen_settings.apply_to(model)
    is_researchers = project is not None and not (by and by.is_staff)
    if is_researchers:
        registration.require_not_own_server(endpoint)
    return partial(_register, model, by, is_researchers, key.strip(), chosen_settings)


@transaction.atomic
def _register(
    model: LanguageModel, by: User | None, is_researchers: bool, key: str, settings: ModelSettings
) -> LanguageModel:
    name, project = model.name, model.project
    if project is not None and is_researchers:
        registration.require_their_own(model, project)
    standing = LanguageModel.objects.filter(name=name).first()
    if standing is not None:
        is_open = project is None or LanguageModel.objects.usable_in(project).filter(pk=standing.pk).exists()
        if is_open and registration.content_of(standing) == registration.content_of(model):
            _require_same(standing, key, settings)
            return standing
        raise Refused(409, name=f"There is already a model {name}; choose another name.")
    model.save()
    if by is not None:
        location = " and ".join(filter(None, (model.folder, model.endpoint)))
        audit.record(action="model.registered", about=f"{name} at {location}", by=by, project=project)
    return model


def _require_same(standing: LanguageModel, key: str, settings: ModelSettings) -> None:
    """Raises Refused, 409, where a second registration gives a key or settings that would be dropped."""
    errors = {}
    if key and not model_keys.has_key(standing, key):
        errors["key"] = f"{standing.name} exists already, without this key; enter it in the model's settings."
    if settings not in (ModelSettings(), ModelSettings.of(standing)):
        errors["name"] = f"{standing.name} exists already with other settings; change the model's settings."
    if errors:
        raise Refused(409, **errors)


@transaction.atomic
def enter_arena(*, project: Project, model: LanguageModel, by: User | None = None) -> Contestant:
    """Enter the model into the arena from now on. Entering twice changes nothing; one that has left comes back.

    `by` is None for a run whose model competes as soon as it is made, and for a command."""
    if by is not None:
        require_usable(model, project)
    if model.kind != LanguageModel.Kind.POLICY:
        raise Refused(400, model=f"{model.name} is a {model.kind} and does not answer; choose a policy.")
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
    return by.is_staff or any(can(by, "manage", home) for home in homes_of(model))


@transaction.atomic
def share(*, model: LanguageModel, by: User, shared: bool = True) -> LanguageModel:
    """Let every project use the model, or, with `shared` False, only its own and those that have used it."""
    if not may_share(model, by):
        raise Refused(403, model="Only staff and managers of the model's project can share it; ask one of them.")
    if model.is_shared == shared:
        raise Refused(409, shared=f"{model.name} is already {'' if shared else 'not '}shared with all projects.")
    model.is_shared = shared
    model.save(update_fields=["is_shared"])
    tell_trails(model, "model.shared" if shared else "model.unshared", by)
    return model


def homes_of(model: LanguageModel) -> QuerySet[Project]:
    return Project.objects.filter(_made_or_registered(model)).distinct()


def _made_or_registered(model: LanguageModel) -> Q:
    return Q(registered_models=model) | Q(runs__output_model=model) | Q(runs__kept_checkpoints__model=model)


def may_retire(model: LanguageModel, by: Person) -> bool:
    """Return whether the person may retire it: staff, and whoever manages every project that it competes in or was made
    in.

    What the operator registered for everybody is retired by staff alone.
    """
    if by.is_staff:
        return True
    if model.is_shared and not homes_of(model).exists():
        return False
    projects = projects_of(model)
    return projects.exists() and all(can(by, "manage", project) for project in projects)


def projects_of(model: LanguageModel) -> QuerySet[Project]:
    """Return the projects that it competes in, was made in or is registered in."""
    of_it = Q(contestants__model=model) | _made_or_registered(model)
    return Project.objects.filter(of_it).distinct()


@transaction.atomic
def retire(*, model: LanguageModel, reason: str, by: User) -> LanguageModel:
    """Retire the model: it starts no run and no battle any more; what points at it stays and counts."""
    if not may_retire(model, by):
        raise Refused(
            403, model="Only staff, and people who manage all projects of the model, can retire it; ask one of them."
        )
    if model.retired_at is not None:
        raise Refused(409, model=f"{model.name} is already retired ({model.retired_reason}).")
    reason = reason.strip()
    if not reason or len(reason) > MAX_REASON_CHARACTERS or not is_storable(reason):
        raise Refused(
            400, reason=f"Enter a reason of 1 to {MAX_REASON_CHARACTERS} characters; the model's page shows it."
        )
    model.retire(reason=reason)
    tell_trails(model, "model.retired", by, reason=reason)
    return model


@transaction.atomic
def bring_back(*, model: LanguageModel, by: User) -> LanguageModel:
    """Bring a retired model back: it may start runs again, and competes where it had been entered and not taken out."""
    if not may_retire(model, by):
        raise Refused(
            403,
            model="Only staff, and people who manage all projects of the model, can bring it back; ask one of them.",
        )
    if model.retired_at is None:
        raise Refused(409, model=f"{model.name} is not retired.")
    model.bring_back()
    tell_trails(model, "model.brought back", by)
    return model


def tell_trails(
    model: LanguageModel,
    action: str,
    by: User | None,
    *,
    about: str = "",
    changes: dict[str, list[Any]] | None = None,
    reason: str = "",
) -> None:
    """Write a line on the audit trail of each of the model's projects; of none on the site's own."""
    projects: list[Project | None] = [*projects_of(model)]
    for project in projects or [None]:
        audit.record(action=action, about=about or model.name, by=by, project=project, changes=changes, reason=reason)
