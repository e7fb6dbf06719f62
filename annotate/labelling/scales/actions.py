"""Change a project's scales: what its annotators answer by. A scale in use keeps its name for ever: data has it."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone

from annotate.core import audit
from annotate.core.errors import Refused
from annotate.core.permissions import require
from annotate.models import Comparison, Project, Ranking, Rating, Scale, Span, User
from common.texts import NOT_STORABLE, is_storable

Kind = Scale.Kind
FIELDS = ("title", "definition", "low", "high", "is_required", "position")
MOST = {Kind.ASPECT: 12, Kind.SPAN: 12}  # more than can be kept in mind; of the other kinds a project has one
MAX_DEFINITION_CHARACTERS = 5_000


def add(*, project: Project, by: User | None, kind: str, name: str, title: str = "", **fields: Any) -> Scale:
    """Return a new scale. Refused when its name stands, also where it is retired: bring that one back instead."""
    _require(by, project)
    if kind not in Kind.values:
        raise Refused(kind=f"{kind!r} is not a kind of scale; use one of {', '.join(Kind.values)}.")
    if not name or not is_storable(name):
        raise Refused(name="Enter a name such as helpful: letters, digits, hyphens and underscores.")
    if standing := project.scales.filter(kind=kind, name=name).first():
        remedy = "bring it back" if standing.retired_at else "change that scale"
        raise Refused(
            409, name=f"There is already a scale {name!r} of the kind {kind}; {remedy}, or choose another name."
        )
    scale = Scale(project=project, kind=kind, name=name, title=title.strip() or _title(name))
    _apply(scale, {"position": project.scales.count(), **fields})
    with transaction.atomic():
        _refuse_too_many(scale)
        scale.save()
        changes = {field: [None, getattr(scale, field)] for field in ("kind", "name", *FIELDS)}
        audit.record(action="scale.added", about=f"{kind} {name}", by=by, project=project, changes=changes)
    return scale


def change(*, scale: Scale, by: User | None, name: str | None = None, **fields: Any) -> Scale:
    """Change a scale's words and place; its name only while nothing has been annotated by it."""
    _require(by, scale.project)
    old_values = _audit_fields(scale)
    if name is not None and name != scale.name:
        if in_use(scale):
            raise Refused(409, name=f"Annotations use the name {scale.name!r}; retire the scale and add a new one.")
        if is_storable(name) and scale.project.scales.filter(kind=scale.kind, name=name).exists():
            raise Refused(409, name=f"There is already a scale {name!r} of the kind {scale.kind}; choose another name.")
        scale.name = name
    _apply(scale, fields)
    return _save(scale, old_values, "scale.changed", by)


def retire(*, scale: Scale, by: User | None) -> Scale:
    """Retire a scale: it is asked for no more, and what was annotated by it stays."""
    _require(by, scale.project)
    old_values = _audit_fields(scale)
    scale.retired_at = scale.retired_at or timezone.now()
    return _save(scale, old_values, "scale.retired", by)


def bring_back(*, scale: Scale, by: User | None) -> Scale:
    _require(by, scale.project)
    old_values = _audit_fields(scale)
    _refuse_too_many(scale)
    scale.retired_at = None
    return _save(scale, old_values, "scale.brought-back", by)


def delete(*, scale: Scale, by: User | None) -> None:
    """Delete a scale that nobody has used yet."""
    project = scale.project
    _require(by, project)
    if in_use(scale):
        raise Refused(409, scale=f"Annotations use {scale.title}; retire it instead.")
    with transaction.atomic():
        audit.record(
            action="scale.deleted",
            about=f"{scale.kind} {scale.name}",
            by=by,
            project=project,
            changes={field: [value, None] for field, value in _audit_fields(scale).items()},
        )
        scale.delete()


def in_use(scale: Scale) -> bool:
    """Return whether anything was ever said by it, taken back or not."""
    project = scale.project
    rows: dict[str, Any] = {
        Kind.THUMBS: Rating.objects.filter(thumbs__isnull=False),
        Kind.STARS: Rating.objects.filter(stars__isnull=False),
        Kind.ASPECT: Rating.objects.filter(aspects__has_key=scale.name),
        Kind.COMPARISON: Comparison.objects.filter(assignment__isnull=False, ranking=None),
        Kind.RANKING: Ranking.objects.all(),
        Kind.SPAN: Span.objects.filter(label=scale.name),
    }
    return rows[scale.kind].filter(project=project).exists()


def _save(scale: Scale, old_values: dict[str, Any], action: str, by: User | None) -> Scale:
    with transaction.atomic():
        scale.save()
        if changes := audit.differences(old_values, _audit_fields(scale)):
            about = f"{scale.kind} {scale.name}"
            audit.record(action=action, about=about, by=by, project=scale.project, changes=changes)
    return scale


def _audit_fields(scale: Scale) -> dict[str, Any]:
    values = {field: getattr(scale, field) for field in ("name", *FIELDS)}
    return values | {"retired_at": scale.retired_at.isoformat() if scale.retired_at else None}


def _apply(scale: Scale, fields: dict[str, Any]) -> None:
    if unknown := fields.keys() - set(FIELDS):
        field = sorted(unknown)[0]
        raise Refused(**{field: f"A scale has no such field; the fields are name, {', '.join(FIELDS)}."})
    for field, value in fields.items():
        setattr(scale, field, value.strip() if isinstance(value, str) else value)
    for field in FIELDS:
        if isinstance(text := getattr(scale, field), str) and not is_storable(text):
            raise Refused(**{field: NOT_STORABLE})
    if len(scale.definition) > MAX_DEFINITION_CHARACTERS:
        raise Refused(413, definition=f"Keep the definition within {MAX_DEFINITION_CHARACTERS:,} characters.")
    if scale.kind == Kind.SPAN and scale.is_required:
        raise Refused(
            is_required="Spans cannot be required, because an answer may have nothing to mark; turn this off."
        )
    try:
        scale.full_clean(exclude=["project"], validate_constraints=False)
    except ValidationError as error:
        raise Refused(**{field: " ".join(messages) for field, messages in error.message_dict.items()}) from error


def _refuse_too_many(scale: Scale) -> None:
    kind, limit = Kind(scale.kind), MOST.get(Kind(scale.kind), 1)
    if scale.project.scales.filter(kind=kind, retired_at=None).exclude(pk=scale.pk).count() >= limit:
        subject = (
            f"This project already has its {kind} scale"
            if limit == 1
            else f"This project already has {limit} scales of this kind"
        )
        raise Refused(409, kind=f"{subject}; change or retire {'it' if limit == 1 else 'one'} first.")


def _require(by: User | None, project: Project) -> None:
    if by is not None:
        require(by, "manage", project)


def _title(name: str) -> str:
    return name.replace("-", " ").replace("_", " ").capitalize()
