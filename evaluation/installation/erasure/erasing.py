"""Erase what is personal of an account, once and whole; what the person said stays under a number, or no longer counts.

The account itself stays as `erased-17`, without a name, an address or a password: annotations, datasets and the ledger
point at its number, and frozen files have that number alone, so that no file and no hash changes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from django.db import transaction
from django.utils import timezone

from annotate.core import audit
from annotate.core.errors import Refused
from annotate.data.datasets import freezing
from annotate.labelling.bulk_status import KINDS, change_all, feedback_by, standing
from annotate.models import (
    Dataset,
    DatasetFreeze,
    Invitation,
    LanguageModel,
    Project,
    Prompt,
    QueueChange,
    Role,
    Status,
    User,
)
from evaluation.annotator_quality.exclusion_effects import Touched, held_by, in_hand, touched_by
from evaluation.installation.erasure.personal_rows import (
    emptied_rows,
    going_rows,
    names_of,
    naming_rows,
    with_name,
)

KEEP, EXCLUDE = "keep", "exclude"
_PREFIX = "erased-"
_REASON = "the person's data was erased"


@dataclass(frozen=True)
class Plan:
    """What an erasure would do. `gone`, `emptied` and `renamed` are {what: rows}; `touched` what is frozen or ranked
    from their annotations, by project; `texts` what they wrote as work, which stays."""

    person: User
    gone: Mapping[str, int]
    emptied: Mapping[str, int]
    renamed: Mapping[str, int]
    touched: Mapping[Project, Touched]
    texts: Mapping[str, int]

    @property
    def is_done(self) -> bool:
        """Return whether nothing is left to erase."""
        nothing = not (self.gone or self.emptied or self.renamed)
        return nothing and is_erased(self.person)


def is_erased(person: User) -> bool:
    return person.username == name_after(person) and not person.email and not person.is_active


def name_after(person: User) -> str:
    """Return what the account is called afterwards. Raises Refused where another has that name."""
    name = f"{_PREFIX}{person.pk}"
    if User.objects.filter(username=name).exclude(pk=person.pk).exists():
        raise Refused(409, person=f"Another account is called {name}; rename that one first.")
    return name


def plan(person: User) -> Plan:
    """Return what would be erased, and what of it is frozen; nothing is written."""
    renamed: dict[str, int] = {}
    if not is_erased(person):
        for row, _ in naming_rows(names_of(person)):
            title = str(row._meta.verbose_name_plural)
            renamed[title] = renamed.get(title, 0) + 1
    projects = [project for project in Project.objects.order_by("pk") if _has_feedback(project, person)]
    return Plan(
        person=person,
        gone=_some({what: rows.count() for what, rows in going_rows(person).items()}),
        emptied=_some({what: each.rows.count() for what, each in emptied_rows(person).items()}),
        renamed=renamed,
        touched={project: touched_by(project, person) for project in projects},
        texts=_some(_texts(person)),
    )


def erase(planned: Plan, *, votes: str, reason: str) -> User:
    """Carry the plan out in one transaction; return the account as it is then.

    Raises Refused, with nothing written, where the person is the only manager of a project."""
    if votes not in (KEEP, EXCLUDE):
        raise ValueError(f"{votes!r} is unknown; use {KEEP} or {EXCLUDE}.")
    with transaction.atomic():
        person = User.objects.select_for_update(no_key=True).get(pk=planned.person.pk)
        name = name_after(person)
        names = names_of(person)
        rows = {*Project.objects.filter(memberships__user=person), *planned.touched}
        projects = sorted(rows, key=lambda each: each.pk)
        for project in projects:
            project.lock(person=person)
        _require_other_managers(person)
        for project in projects:
            _free_hands(project, person)
            if votes == EXCLUDE:
                change_all(
                    project=project, rows=standing(project, person), status=Status.EXCLUDED, reason=_REASON, by=None
                )
        _take_away(person)
        if not is_erased(planned.person):
            for row, changed in naming_rows(names):
                fields = {field: with_name(value, name) for field, value in changed.items()}
                type(row)._default_manager.filter(pk=row.pk).update(**fields)
        _make_nameless(person, name)
        # A dataset that is being frozen has read the votes before: it is frozen by what stands now.
        freezing.begin_anew(DatasetFreeze.objects.filter(project__in=projects))
        _mark(projects, person)
        _record(planned, name, votes, reason)
    return person


def _require_other_managers(person: User) -> None:
    for project in Project.objects.filter(memberships__user=person, memberships__role=Role.MANAGER):
        if not project.memberships.filter(role=Role.MANAGER).exclude(user=person).exists():
            raise Refused(
                409, person=f"{person} is the only manager of {project.slug}; make somebody else a manager first."
            )


def _free_hands(project: Project, person: User) -> None:
    found = in_hand(project, person).expire()
    QueueChange.note(project.pk, [prompt for _, prompt in found])


def _take_away(person: User) -> None:
    emptied = emptied_rows(person)
    invited = list(emptied["addresses of invitations"].rows.values_list("pk", flat=True))
    Invitation.objects.filter(pk__in=invited).unanswered().update(revoked_at=timezone.now())  # type: ignore[attr-defined]
    for each in emptied.values():
        each.rows.update(**each.fields)
    for rows in going_rows(person).values():
        rows.delete()


def _make_nameless(person: User, name: str) -> None:
    person.username, person.first_name, person.last_name, person.email = name, "", "", ""
    person.is_active = person.is_staff = person.is_superuser = False
    person.shortcuts, person.last_login = {}, None
    if person.has_usable_password():
        person.set_unusable_password()
    person.save()
    person.groups.clear()
    person.user_permissions.clear()


def _mark(projects: Iterable[Project], person: User) -> None:
    """Mark what holds their annotations for good, for whoever opens it; what came since the plan, too."""
    now = timezone.now()
    for project in projects:
        datasets, _, models = held_by(project, person)
        dataset_ids, model_ids = [each.dataset.pk for each in datasets], [each.model.pk for each in models]
        Dataset.objects.filter(pk__in=dataset_ids, erased_person_at=None).update(erased_person_at=now)
        LanguageModel.objects.filter(pk__in=model_ids, erased_person_at=None).update(erased_person_at=now)


def _record(planned: Plan, name: str, votes: str, reason: str) -> None:
    about = f"{name}, annotations {'excluded' if votes == EXCLUDE else 'kept'}"
    if not planned.is_done:
        numbers: dict[str, list[Any]] = {what: [n, 0] for what, n in {**planned.gone, **planned.emptied}.items()}
        audit.record(action="person.erased", about=about, by=None, changes=numbers, reason=reason)
    for project, touched in planned.touched.items():
        changes: dict[str, list[Any]] = {
            "datasets that hold them": [None, [each.dataset.name for each in touched.datasets]],
            "models that learned from them": [None, [each.model.name for each in touched.models]],
            "votes that rank models": [None, touched.votes],
        }
        if votes == EXCLUDE:
            changes["ranks that move"] = [None, [each.model.name for each in touched.places if each.moves]]
        if not planned.is_done or (touched.total and votes == EXCLUDE):
            audit.record(action="person.erased", about=about, by=None, project=project, changes=changes, reason=reason)


def _has_feedback(project: Project, person: User) -> bool:
    return any(rows.exists() for rows in feedback_by(project, person).values())


def _texts(person: User) -> dict[str, int]:
    return {
        "answers that they wrote": KINDS["demonstration"].objects.filter(author=person).count(),
        "conversations to red-team a model": KINDS["attack"].objects.filter(author=person).count(),
        "prompts that they asked or added": Prompt.objects.filter(created_by=person).count(),
    }


def _some(numbers: dict[str, int]) -> dict[str, int]:
    return {what: n for what, n in numbers.items() if n}
