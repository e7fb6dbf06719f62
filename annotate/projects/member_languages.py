"""Heed the languages that members read: say which prompts they get, and change them.

A prompt without a language is for everybody, and a member without languages gets all prompts. What is in a person's
hands already may be finished; what only waits in their browser goes back.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

from django.db import transaction
from django.db.models import Model, Q, QuerySet

from annotate.core import audit
from annotate.core.errors import Refused
from annotate.models import Membership, Project, Prompt, QueueChange, QueueEntry, User
from annotate.projects import actions
from common.languages import language_names, language_tags

LANGUAGES = "Tags of the languages that they read, such as “de, pt-BR”; empty: all."
M = TypeVar("M", bound=Model)


@transaction.atomic
def change_member(*, project: Project, user: User, role: str, by: User, language: str | None = None) -> Membership:
    """Add a member or change the role of one, and their languages unless those are None."""
    tags = None if language is None else checked(language)
    membership = actions.add_member(project=project, user=user, role=role, by=by)
    if tags is not None and tags != membership.language:
        _change_languages(membership, tags, by)
    return membership


def checked(languages: str) -> str:
    """Return a list of tags as it is stored. Refused, as `language`, when one of them is none."""
    try:
        return language_tags.parse_list(languages)
    except ValueError as error:
        raise Refused(language=str(error)) from None


def languages_of(project: Project, user: User) -> tuple[str, ...]:
    """Return the languages that a person gets prompts in, without regions; () for all. A simulation reads all."""
    if user.is_simulated:
        return ()
    tags = Membership.objects.filter(project=project, user=user).values_list("language", flat=True).first()
    return language_tags.primaries(tags or "")


def within(rows: QuerySet[M], languages: Sequence[str]) -> QuerySet[M]:
    """Return those rows whose prompt is in one of these languages or in none."""
    return rows.filter(_readable(languages, "prompt__language")) if languages else rows


def readable(prompts: Iterable[int], languages: Sequence[str]) -> set[int]:
    """Return those of the prompts that are in one of these languages or in none."""
    prompts = set(prompts)
    if not prompts or not languages:
        return prompts
    rows = Prompt.objects.filter(_readable(languages, "language"), pk__in=prompts)
    return set(rows.values_list("pk", flat=True))


def unread_languages(project: Project, languages: Sequence[str]) -> list[str]:
    """Return the other languages in which prompts wait for annotation, in words; [] where all prompts are theirs."""
    if not languages:
        return []
    others = QueueEntry.with_room(project).exclude(language__in=["", *languages]).order_by("language")
    return list(others.values_list("language", flat=True).distinct())


def why_unread(project: Project, user: User) -> str:
    """Return why items that wait for annotators are not for this person; empty when none are."""
    languages = languages_of(project, user)
    others = unread_languages(project, languages)
    if not others:
        return ""
    return f"Items are left in {language_names.names(others)}. You get items in {language_names.names(languages)}."


def in_words(tags: str) -> str:
    """Return the languages of a list in words; "" for all."""
    return language_names.names(language_tags.primaries(tags))


def _readable(languages: Sequence[str], field: str) -> Q:
    found = Q(**{field: ""})
    for language in languages:
        found |= Q(**{field: language}) | Q(**{f"{field}__startswith": f"{language}-"})
    return found


def _change_languages(membership: Membership, tags: str, by: User) -> None:
    changes = {"language": [membership.language, tags]}
    membership.language = tags
    membership.save(update_fields=["language"])
    project, user = membership.project, membership.user
    audit.record(action="member.languages", about=user.username, by=by, project=project, changes=changes)
    _give_back_unseen(project, user)


def _give_back_unseen(project: Project, user: User) -> None:
    """Give back what waits in their browser and they can no longer be asked."""
    project.lock()
    unseen = dict(project.assignments.live().filter(user=user, is_ahead=True).values_list("pk", "prompt_id"))
    kept = readable(unseen.values(), languages_of(project, user))
    gone = [pk for pk, prompt in unseen.items() if prompt not in kept]
    found = project.assignments.filter(pk__in=gone).expire()
    QueueChange.note(project.pk, [prompt for _, prompt in found])
