"""Answer a repeated Idempotency-Key with the first answer, and do nothing a second time.

What is a secret in the answer is not kept with it: it is asked for again where the answer is.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial, wraps
from typing import Any

from django.db import IntegrityError, transaction
from rest_framework.exceptions import APIException
from rest_framework.request import Request
from rest_framework.response import Response

from annotate.core.db.prepared import Prepared, Slot, ask_at_commit
from annotate.core.db.prepared_writes import insert
from annotate.core.errors import Refused
from annotate.models import FirstAnswer

LONGEST_KEY = 100
TWIN_SECONDS = 0.5  # that whoever is refused waits for the answer of a twin
_twins = threading.BoundedSemaphore(4)  # that wait so at once: each has a place of those in which requests run
_firsts = Prepared(lambda: FirstAnswer.objects.filter(who=Slot("who"), key=Slot("key")))


Secrets = Mapping[str, Callable[[Request, dict[str, Any]], str]]
Work = Callable[[], Response]


def idempotent(
    *,
    atomic: bool = True,
    checks_first: bool = False,
    looks_first: bool = True,
    whole_body: bool = True,
    sender_of: Callable[[Request], str] | None = None,
    secrets: Secrets | None = None,
) -> Callable:
    """Decorate a view method or function whose POST creates something, so that a repeated Idempotency-Key gets the
    first answer.

    `atomic` keeps the answer in the transaction of the work itself, so that there is never one without the other and
    a twin that arrives at the same moment waits. It is off where the work waits for a model server or computes: SQLite
    has one writer. Then the work itself must refuse a second time what was done. With `checks_first` the view checks
    what was sent and returns a function, and only this function runs in the transaction: it must itself notice what
    another request has changed since. `looks_first` is off where a repetition may do the work until the key stops it
    and undoes it: hardly anything is sent twice, and what is sent once is spared a query. `whole_body` is off for
    uploads that are too large to hold. `sender_of` tells senders without an account apart. `secrets` names the fields
    of the answer that must not lie in the database, each with what gives it again from the request and from what was
    kept of the answer.
    """
    hidden = secrets or {}

    def decorate(view: Callable[..., Response]) -> Callable[..., Response]:
        @wraps(view)
        def answered_once(*args: Any, **kwargs: Any) -> Response:
            request = next(a for a in args if isinstance(a, Request))
            key = key_of(request)
            if key is None:
                if not atomic:
                    return view(*args, **kwargs)
                work = _checked(view, checks_first, args, kwargs)
                with transaction.atomic():
                    return work()
            sender = sender_of(request) if sender_of else f"user:{request.user.pk}"
            request_hash = _hash(request, whole_body)
            if looks_first and (first := _firsts.first(who=sender, key=key)):
                return _repeated_response(first, request_hash, request, hidden)
            if not atomic:
                try:
                    response = view(*args, **kwargs)
                except (Refused, IntegrityError) as error:
                    if twin := _twin(sender, key, error):
                        return _repeated_response(twin, request_hash, request, hidden)
                    raise
                return _keep(sender, key, request_hash, response, request, hidden)
            check = partial(_checked, view, checks_first, args, kwargs)
            return _work_and_keep(sender, key, request_hash, check, request, hidden)

        return answered_once

    return decorate


def key_of(request: Request) -> str | None:
    """Return the Idempotency-Key of a request; Refused when it is too long."""
    key = request.headers.get("Idempotency-Key", "").strip()
    if len(key) > LONGEST_KEY or not key.isprintable():
        raise Refused(400, **{"Idempotency-Key": f"Use at most {LONGEST_KEY} printable characters, such as a UUID."})
    return key or None


def feedback_key(request: Request) -> str | None:
    """Return the key for a row of feedback: keys are unique over all senders there, so it carries its sender."""
    key = key_of(request)
    return f"{request.user.pk}:{key}" if key and request.user.is_authenticated else key


def _checked(view: Callable[..., Any], checks_first: bool, args: Any, kwargs: Any) -> Work:
    """Return what is to be done in the transaction: what the view has returned after its checks, or all of the view."""
    return view(*args, **kwargs) if checks_first else partial(view, *args, **kwargs)


def _work_and_keep(
    sender: str, key: str, request_hash: str, check: Callable[[], Work], request: Request, secrets: Secrets
) -> Response:
    try:
        work = check()
        with transaction.atomic():
            response = work()
            first = FirstAnswer(who=sender, key=key, request_hash=request_hash, **_storable(response, secrets))
            ask_at_commit(insert(first))
            return response
    except (Refused, APIException, IntegrityError) as error:
        # Perhaps a twin was first: what it has done is refused a second time, or its key stands. On Postgres one of
        # the two has waited here, or at a row that both change, until the other's transaction had ended.
        if twin := _firsts.first(who=sender, key=key):
            return _repeated_response(twin, request_hash, request, secrets)
        if isinstance(error, IntegrityError):
            check()  # what stands in the way by now, it refuses in words
        raise


def _twin(sender: str, key: str, error: Exception) -> FirstAnswer | None:
    """Return the answer of a twin that was first at work; it is kept a moment after the work is done.

    It is waited for where a twin may be why this one was refused: what stands already is a conflict.
    """
    first = _firsts.first(who=sender, key=key)
    is_conflict = not isinstance(error, Refused) or error.status == 409
    if first is None and is_conflict and _twins.acquire(blocking=False):
        try:
            until = time.monotonic() + TWIN_SECONDS
            while (first := _firsts.first(who=sender, key=key)) is None and time.monotonic() < until:
                time.sleep(0.05)
        finally:
            _twins.release()
    return first


def _keep(sender: str, key: str, request_hash: str, response: Response, request: Request, secrets: Secrets) -> Response:
    first, is_new = FirstAnswer.objects.get_or_create(
        who=sender, key=key, defaults={"request_hash": request_hash, **_storable(response, secrets)}
    )
    return response if is_new else _repeated_response(first, request_hash, request, secrets)


def _storable(response: Response, secrets: Secrets) -> dict[str, Any]:
    """Return the answer as it is kept: None in the place of a secret; a secret that was empty stays."""
    body = response.data
    if secrets and isinstance(body, dict):
        body = {name: None if name in secrets and value else value for name, value in body.items()}
    return {"status": response.status_code, "body": body}


def _repeated_response(first: FirstAnswer, request_hash: str, request: Request, secrets: Secrets) -> Response:
    if first.request_hash != request_hash:
        raise Refused(
            409, **{"Idempotency-Key": "This key was used for another request; use a new one for each new request."}
        )
    body = first.body
    if secrets and isinstance(body, dict):
        missing = {name: reissue for name, reissue in secrets.items() if name in body and body[name] is None}
        body = body | {name: reissue(request, body) for name, reissue in missing.items()}
    return Response(body, status=first.status, headers={"Idempotency-Replayed": "true"})


def _hash(request: Request, whole_body: bool) -> str:
    content = request._request.body if whole_body else request.headers.get("Content-Length", "").encode()
    address = f"{request.method} {request.get_full_path()}\n"
    return hashlib.sha256(address.encode() + content).hexdigest()
