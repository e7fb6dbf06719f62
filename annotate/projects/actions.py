"""Change projects, their settings, guidelines and members."""

from __future__ import annotations

import math
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.utils.text import slugify

from annotate.core import audit, events
from annotate.core.errors import Refused
from annotate.core.permissions import Person, in_scope, require
from annotate.models import Guideline, Membership, Project, QueueChange, Role, User
from common.texts import NOT_STORABLE, is_storable

PROJECT_CHANGED = "project.settings"  # on the audit trail
SETTINGS = (
    "description",
    "is_public",
    "asks_ratings",
    "asks_comparisons",
    "asks_rankings",
    "asks_answers",
    "asks_attacks",
    "overlap",
    "assignment_minutes",
    "edit_minutes",
    "must_read_guidelines",
    "gold_percent",
    "gold_pass_percent",
    "repeat_percent",
    "review_percent",
    "open_sign_up",
    "needs_second_factor",
    "proof_of_work",
    "daily_goal",
    "eval_percent",
    "from_scratch",
    "max_new_tokens",
    "temperature",
    "top_p",
    "system_prompt",
)
ASKS = ("asks_ratings", "asks_comparisons", "asks_rankings", "asks_answers", "asks_attacks")
MAX_GUIDELINE_CHARACTERS = 50_000
MAX_ADDRESS_CHARACTERS = 50  # as many as Project.slug holds


def create_project(*, slug: str, name: str, by: User | None, guidelines: str = "", **settings: Any) -> Project:
    """Return a new project, with its creator as manager. `by` is None for a command on this machine."""
    if by is not None:
        require_starter(by)
    project = Project(slug=slug, name=name.strip(), created_by=by)
    if by is not None:
        _require_own_second_factor(by, project, settings)
    _apply(project, settings)
    with transaction.atomic():
        if by is not None:
            _refuse_one_too_many(by)
        _insert(project)
        if by is not None:
            Membership.objects.create(project=project, user=by, role=Role.MANAGER)
        audit.record(action="project.made", about=project.name, by=by, project=project)
        if guidelines.strip():
            _add_guideline(project, guidelines, by)
    return project


def _insert(project: Project) -> None:
    try:
        with transaction.atomic():
            project.save(force_insert=True)
    except IntegrityError as error:  # a double click: its twin came first
        raise Refused(409, slug=f"There is already a project {project.slug}; choose another address.") from error


def address_of(name: str) -> str:
    """Return an address made of the name; empty where the name has no Latin letter and no digit."""
    return slugify(name)[:MAX_ADDRESS_CHARACTERS].strip("-_")


def may_start(user: Person) -> bool:
    """Return whether this person may start projects: staff, and others where the operator lets them."""
    return isinstance(user, User) and (user.is_staff or (settings.PROJECTS_PER_PERSON > 0 and in_scope(user, "manage")))


def require_starter(user: Person) -> None:
    if not may_start(user):
        raise Refused(403, project="Only staff can start projects; ask the operator of this installation.")


def _refuse_one_too_many(by: User) -> None:
    """Refuse who is no staff and has started as many as the operator lets them, wherever they are managers now."""
    if by.is_staff:
        return
    by.lock()  # two at once
    started = Project.objects.filter(created_by=by).count()
    if started >= settings.PROJECTS_PER_PERSON:
        raise Refused(
            403,
            project=f"You have started {started} projects; the limit per person is {settings.PROJECTS_PER_PERSON}. "
            "Use one of them, or ask the operator of this installation for more.",
        )


def change_settings(*, project: Project, by: User | None, name: str | None = None, **settings: Any) -> Project:
    """Change the settings; `by` is None for a command on this machine. The splits of existing prompts do not change
    with `eval_percent`."""
    if by is not None:
        require(by, "manage", project)
        _require_own_second_factor(by, project, settings)
    before = _as_told(project)
    if name is not None:
        project.name = name.strip()
    _apply(project, settings)
    changed = [*settings, *(["name"] if name is not None else [])]
    with transaction.atomic():
        project.save(update_fields=changed)  # by name: what somebody else has changed meanwhile stays
        if changes := audit.differences(before, _as_told(project)):
            audit.record(action=PROJECT_CHANGED, about=project.name, by=by, project=project, changes=changes)
    return project


def _require_own_second_factor(by: User, project: Project, settings: dict[str, Any]) -> None:
    """Refuse a wish that would shut out the manager who has it."""
    if settings.get("needs_second_factor") and not project.needs_second_factor and not by.has_second_factor:
        raise Refused(needs_second_factor="Set up a second factor for your own account first, under Your account.")


def _as_told(project: Project) -> dict[str, Any]:
    return {name: getattr(project, name) for name in ("name", *SETTINGS)}


def revise_guidelines(*, project: Project, text: str, by: User | None) -> Guideline:
    """Return a new version; the standing one when nothing changed. Earlier versions stay: feedback points at them."""
    if by is not None:
        require(by, "manage", project)
    with transaction.atomic():
        return _add_guideline(project, text, by)


def add_member(*, project: Project, user: User, role: str, by: User | None) -> Membership:
    """Add a member, or change the role of one."""
    if by is not None:
        require(by, "manage", project)
    if role not in Role.values:
        raise Refused(role=f"{role!r} is unknown; use one of {', '.join(Role.values)}.")
    with transaction.atomic():
        project.lock(person=user)
        if role != Role.MANAGER:
            _keep_a_manager(project, user)
        before = project.memberships.filter(user=user).values_list("role", flat=True).first()
        membership, _ = Membership.objects.update_or_create(project=project, user=user, defaults={"role": role})
        _tell_of_member(project, user, before, role, by)
    return membership


def remove_member(*, project: Project, user: User, by: User) -> None:
    """Remove a member. What they said stays and counts; what they hold goes back to the others."""
    require(by, "manage", project)
    with transaction.atomic():
        project.lock(person=user)
        _keep_a_manager(project, user)
        before = project.memberships.filter(user=user).values_list("role", flat=True).first()
        Membership.objects.filter(project=project, user=user).delete()
        _tell_of_member(project, user, before, None, by)
        found = project.assignments.live().filter(user=user).expire()
        QueueChange.note(project.pk, [prompt for _, prompt in found])


def _tell_of_member(project: Project, user: User, before: str | None, after: str | None, by: User | None) -> None:
    if before == after:
        return
    changes = {"role": [before, after]}
    audit.record(action="member.role", about=user.username, by=by, project=project, changes=changes)
    events.announce(project=project, event="member.changed", data={"user": user.username, "role": after})


def _keep_a_manager(project: Project, user: User) -> None:
    """Refuse to let the only manager go. Under the project's lock: two managers may remove each other."""
    managers = set(project.memberships.filter(role=Role.MANAGER).values_list("user_id", flat=True))
    if managers == {user.pk}:
        raise Refused(409, role=f"{user} is the only manager of {project.name}; make someone else a manager first.")


def _apply(project: Project, settings: dict[str, Any]) -> None:
    if unknown := settings.keys() - set(SETTINGS):
        field = sorted(unknown)[0]
        raise Refused(**{field: f"A project has no such setting; the settings are {', '.join(SETTINGS)}."})
    for field, value in settings.items():
        setattr(project, field, value)
    try:
        project.full_clean(exclude=["created_by"])  # empty for what a command on this machine makes
    except ValidationError as error:
        raise Refused(**{field: " ".join(messages) for field, messages in error.message_dict.items()}) from error
    for field in ("name", *settings):
        value = getattr(project, field)
        if isinstance(value, float) and math.isnan(value):  # which is neither too small nor too large
            raise Refused(**{field: "Enter a number."})
        if isinstance(value, str) and not is_storable(value):
            raise Refused(**{field: NOT_STORABLE})
    if not any(getattr(project, name) for name in ASKS):
        raise Refused(asks_ratings="Turn on at least one task, such as ratings.")


def _add_guideline(project: Project, text: str, by: User | None) -> Guideline:
    text = text.strip()
    if not text:
        raise Refused(text="The guidelines are empty; write at least one sentence on what makes an answer good.")
    if len(text) > MAX_GUIDELINE_CHARACTERS:
        raise Refused(413, text=f"They have {len(text):,} characters; shorten them to {MAX_GUIDELINE_CHARACTERS:,}.")
    if "\x00" in text:
        raise Refused(text="They contain a null character, which cannot be stored; remove it.")
    project.lock()  # two at once would publish one version twice
    latest = project.guidelines.order_by("-version").first()
    if latest is not None and latest.text == text:
        return latest
    version = latest.version + 1 if latest else 1
    guideline = Guideline.objects.create(project=project, version=version, text=text, created_by=by)
    audit.record(action="project.guidelines", about=f"version {version}", by=by, project=project)
    return guideline
