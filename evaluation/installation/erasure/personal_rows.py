"""Name what an installation holds about a person: rows that go, fields that are emptied, and texts that name them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.socialaccount.models import SocialAccount
from django.contrib.admin.models import LogEntry
from django.contrib.sessions.models import Session
from django.db.models import Model, Q, QuerySet, TextField
from django.db.models.functions import Cast

from annotate.labelling.bulk_status import KINDS
from annotate.models import (
    ApiToken,
    Assignment,
    AuditEntry,
    Delivery,
    FirstAnswer,
    HarmBudget,
    Invitation,
    Membership,
    Talk,
    User,
    VoteTrace,
)
from annotate.models.prompts import JUDGED_HERE
from evaluation.models import Alert, Exclusion, Notice

SHORTEST = 3  # letters of a name that is looked for inside texts: a shorter one may be any word
# Where texts name people: their fields of text, and those of JSON.
_NAMING: tuple[tuple[type[Model], tuple[str, ...], tuple[str, ...]], ...] = (
    (AuditEntry, ("about", "reason"), ("changes",)),
    (Alert, ("text",), ()),
    (Notice, ("text",), ()),
    (Exclusion, ("reason", "undone_reason"), ()),
    (LogEntry, ("object_repr",), ()),
    (Delivery, (), ("body",)),
    (FirstAnswer, (), ("body",)),
)


_GONE = "\ufffc"  # stands for the new name until it is known


@dataclass(frozen=True)
class Emptied:
    """Rows of which some fields are emptied, and what they hold afterwards."""

    rows: QuerySet[Any]
    fields: dict[str, Any]


def emails_of(person: User) -> set[str]:
    """Return the addresses of the account, without empty ones."""
    known = {person.email, *EmailAddress.objects.filter(user=person).values_list("email", flat=True)}
    return known - {""}


def going_rows(person: User) -> dict[str, QuerySet[Any]]:
    """Return rows that are deleted, by what they are."""
    return {
        "e-mail addresses": EmailAddress.objects.filter(user=person),
        "accounts of single sign-on": SocialAccount.objects.filter(user=person),
        "second factors": Authenticator.objects.filter(user=person),
        "API tokens": ApiToken.objects.filter(user=person),
        "memberships": Membership.objects.filter(user=person),
        "terms of seeing harm": HarmBudget.objects.filter(user=person),
        "notices": Notice.objects.filter(user=person),
        "answers of the API": FirstAnswer.objects.filter(who=f"user:{person.pk}"),
        "talks with models that were not sent": Talk.objects.filter(user=person, attack=None),
        "sessions": Session.objects.filter(pk__in=list(session_keys(person))),
    }


def session_keys(person: User) -> Iterator[str]:
    """Yield the keys of sessions in which the person is signed in: who is said inside each alone."""
    for session in Session.objects.iterator(chunk_size=500):
        if str(session.get_decoded().get("_auth_user_id", "")) == str(person.pk):
            yield session.pk


def emptied_rows(person: User) -> dict[str, Emptied]:
    """Return rows that stay without some of what they say, by what goes."""
    own = {"author": person, "source__in": JUDGED_HERE}
    comments = {
        f"comments on {table._meta.verbose_name_plural}": Emptied(
            table.objects.filter(**own).exclude(comment=""), {"comment": ""}
        )
        for table in KINDS.values()
    }
    invited = Q(accepted_by=person)
    for email in emails_of(person):
        invited |= Q(email__iexact=email)
    return comments | {
        "hashes of network addresses": Emptied(
            VoteTrace.objects.filter(battle__user=person).exclude(address=""), {"address": ""}
        ),
        "comments of reviewers to them": Emptied(
            Assignment.objects.filter(user=person).exclude(sent_back_comment=""), {"sent_back_comment": ""}
        ),
        "reasons why they skipped": Emptied(
            Assignment.objects.filter(user=person, state=Assignment.State.SKIPPED).exclude(skip_reason=""),
            {"skip_reason": ""},
        ),
        "addresses of invitations": Emptied(
            Invitation.objects.filter(invited).exclude(email=""), {"email": "", "mail_problem": ""}
        ),
    }


def names_of(person: User) -> list[str]:
    """Return what names the person in a text, the longest first."""
    names = {person.username, person.get_full_name(), *emails_of(person)} - {""}
    return sorted(names, key=len, reverse=True)


def naming_rows(names: Sequence[str]) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Yield each row whose texts name the person, with the fields that would change, without the names."""
    for table, texts, objects in _NAMING:
        found = Q()
        rows = table._default_manager.annotate(**{f"{name}_text": Cast(name, TextField()) for name in objects})
        for name in names:
            # SQLite keeps letters beyond ASCII in JSON as escapes, Postgres as they are.
            for form in {name, json.dumps(name)[1:-1]}:
                for field in (*texts, *(f"{name}_text" for name in objects)):
                    found |= Q(**{f"{field}__icontains": form})
        for row in rows.filter(found).iterator(chunk_size=500):
            changed = {field: _nameless(getattr(row, field), names) for field in (*texts, *objects)}
            changed = {field: value for field, value in changed.items() if value != getattr(row, field)}
            if changed:
                yield row, changed


def with_name(value: Any, name: str) -> Any:
    """Return a text, or all texts within a value, with the new name where the old ones were."""
    if isinstance(value, str):
        return value.replace(_GONE, name)
    if isinstance(value, list):
        return [with_name(one, name) for one in value]
    if isinstance(value, dict):
        return {with_name(key, name): with_name(one, name) for key, one in value.items()}
    return value


def _nameless(value: Any, names: Sequence[str]) -> Any:
    if isinstance(value, str):
        for name in names:
            if value.casefold() == name.casefold():
                return _GONE
            if len(name) >= SHORTEST:
                whole = rf"(?<![\w@+-])(?<!\w\.){re.escape(name)}(?![\w@+-])(?!\.\w)"
                value = re.sub(whole, _GONE, value, flags=re.IGNORECASE)
        return value
    if isinstance(value, list):
        return [_nameless(one, names) for one in value]
    if isinstance(value, dict):
        return {_nameless(key, names): _nameless(one, names) for key, one in value.items()}
    return value
