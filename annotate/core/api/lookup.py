"""Look up what a program may see, and say when something is not there."""

from __future__ import annotations

import hashlib
import secrets
from typing import Any, TypeVar

from django.db.models import Model, QuerySet
from rest_framework.request import Request

from annotate.core.api.serializer_fields import LARGEST_ID
from annotate.core.db.prepared import Prepared
from annotate.core.errors import Refused
from annotate.core.permissions import Person, can, require_second_factor
from annotate.core.visitors import visitor_of
from annotate.models import Project
from common.whole_numbers import whole_number

VISITOR_HEADER = "Visitor"
M = TypeVar("M", bound=Model)


def find_project(user: Person, slug: Any) -> Project:
    """Return the project with that slug. A private one does not exist for others."""
    project = Project.objects.filter(slug=slug).first() if isinstance(slug, str) and "\x00" not in slug else None
    if project is not None and not can(user, "read", project):
        require_second_factor(user, project)
        project = None
    if project is None:
        raise Refused(404, project=f"There is no project {slug!r} that you may see; GET projects/ lists your projects.")
    return project


def find(rows: QuerySet[M] | Prepared, pk: Any, field: str, **slots: Any) -> Any:
    """Return the row with that id among those that the asker may see; a prepared query has a slot for it, and perhaps
    more."""
    number = whole_number(str(pk), 0, digits=len(str(LARGEST_ID)))
    row = None
    if 0 < number <= LARGEST_ID:
        row = rows.first(pk=number, **slots) if isinstance(rows, Prepared) else rows.filter(pk=number).first()
    if row is None:
        raise Refused(404, **{field: f"There is no {field.replace('_', ' ')} {pk} that you may see."})
    return row


def find_named(rows: QuerySet[M], pk: Any, field: str) -> M:
    """Return what a field of the body points at: when it is not there, the field is wrong and not the address."""
    try:
        return find(rows, pk, field)
    except Refused as refused:
        raise Refused(400, **refused.errors) from refused


def find_all(rows: QuerySet[M], ids: set[int]) -> dict[int, M]:
    """Return those of the ids that the asker may see, a few hundred to a query."""
    ordered = sorted(ids)
    rows_by_id: dict[int, M] = {}
    for start in range(0, len(ordered), 500):
        rows_by_id |= rows.in_bulk(ordered[start : start + 500])
    return rows_by_id


def of_project(rows: QuerySet[M], request: Request, path: str = "project") -> QuerySet[M]:
    """Narrow the rows to ?project=slug when it is given; a project that may not be seen is refused."""
    slug = request.query_params.get("project")
    return rows if slug is None else rows.filter(**{path: find_project(request.user, slug)})


def of_values(rows: QuerySet[M], request: Request, *names: str) -> QuerySet[M]:
    """Narrow the rows to those with the values of these query parameters, of those that are given."""
    given = {name: request.query_params[name].replace("\x00", "") for name in names if name in request.query_params}
    return rows.filter(**given)


def new_visitor_token() -> str:
    """Return a token for a client without account and cookies: whoever sends it again in the `Visitor` header is the
    same person."""
    return secrets.token_urlsafe(24)


def visitor_token(request: Request) -> str:
    token = request.headers.get(VISITOR_HEADER, "").strip()
    if token and not 20 <= len(token) <= 200:
        raise Refused(400, Visitor="Send the visitor token that POST battles/ gave, unchanged.")
    return token


def visitor_of_token(token: str) -> str:
    """Return a visitor of the same shape as annotate.core.visitors gives a browser's session: a hash that signs nobody
    in."""
    return hashlib.sha256(f"api visitor {token}".encode()).hexdigest()


def visitor(request: Request) -> str:
    """Return who this visitor is: by the token, else by the browser's session; "" when neither is there."""
    token = visitor_token(request)
    return visitor_of_token(token) if token else visitor_of(request._request)
