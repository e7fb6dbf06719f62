"""Say why a model server gave no answer: in words for whoever waits, with more detail for researchers.

The words never name a model, a folder or an address, because an arena visitor may read them before the vote; what the
server said is in `detail`, for logs alone: it may come from where its reader cannot look. `kind` is for whoever checks
an endpoint (`endpoint_check`).
"""

from __future__ import annotations

import httpx
from django.conf import settings

from annotate.core.chat_api import refusals
from annotate.core.chat_api.refusals import Kind
from annotate.core.network import outbound
from annotate.models import LanguageModel


class ModelServerError(Exception):
    """Raised when a model server gives no answer: `what` happened and the `remedy`, fit for anyone to read; `detail` is
    what the server said."""

    def __init__(self, what: str, remedy: str, detail: str = "", kind: Kind = Kind.FAILED) -> None:
        super().__init__(f"{what} {remedy}")
        self.what, self.remedy, self.detail, self.kind = what, remedy, detail, kind


class NotReached(ModelServerError):
    """Raised when nothing listens there, or nobody knows the way."""


def describe_for_researchers(model: LanguageModel, error: ModelServerError) -> str:
    """Return what a researcher reads of a failure: of the site's own server what it said, too, such as a folder's
    fault.

    Of somebody's endpoint never: whoever registered it may not be able to read what answers there.
    """
    return str(error) if model.endpoint else f"{error} {error.detail}".strip()


def in_words(error: httpx.HTTPError, url: str) -> ModelServerError:
    """Return what a request to the server at `url` that met no answer tells."""
    detail = f"{type(error).__name__}: {error}"
    kind = refusals.kind_of_fault(error)
    if kind == Kind.PROTOCOL:
        return ModelServerError("The model server's answer is too long.", "Ask for a shorter one.", detail, kind)
    if kind == Kind.PRIVATE:
        return ModelServerError(
            "Assay may not connect to the model server.",
            f"The operator must allow an address inside this network ({outbound.VARIABLE}).",
            detail,
            kind,
        )
    if kind in (Kind.TLS, Kind.ADDRESS):
        return NotReached(
            "The model server cannot be reached.",
            f"It may still be starting: try again in a minute. {_whose(url)}",
            detail,
            kind,
        )
    if kind == Kind.TIME_OUT:
        return ModelServerError(
            f"The model server sent nothing for {settings.MODEL_SERVER_TIMEOUT:g} seconds.",
            "It may be busy: try again later.",
            detail,
            kind,
        )
    return broke_off(detail)


def _whose(url: str) -> str:
    if url.rstrip("/") == settings.MODEL_SERVER_URL.rstrip("/"):
        return "The operator of this site starts it with script/server."
    return "If this continues, the person who registered the model should check its server."


def broke_off(detail: str) -> ModelServerError:
    return ModelServerError(
        "The connection to the model server ended in the middle of this answer.", "Try again.", detail, Kind.CUT
    )


def not_understood(detail: str) -> ModelServerError:
    return ModelServerError(
        "The response of the model server is not in OpenAI's format.",
        "Check that the address is that of an OpenAI-compatible server and ends with /v1.",
        detail[:500],
        Kind.PROTOCOL,
    )


def of_key(detail: str) -> ModelServerError:
    return ModelServerError(
        "The model server does not accept the key.", "Enter its key again on the model's page.", detail, Kind.KEY
    )


def too_many(detail: str = "as many requests as its concurrency allows are under way") -> ModelServerError:
    return ModelServerError("The model server is busy.", "Try again later.", detail, Kind.THROTTLED)


def refusal(status: int, body: bytes, key: str = "") -> ModelServerError:
    """Return what an HTTP status other than 200 tells."""
    text = refusals.without_key(body.decode("utf-8", "replace"), key)
    kind, detail = refusals.kind_of(status, text), f"HTTP {status}: {text[:500]}"
    if status in (401, 403):
        return ModelServerError(
            "The model server does not accept the key.", "Check the key and its permissions.", detail, kind
        )
    if status == 404:
        return ModelServerError(
            "The model server does not know this model, or has no such address.",
            "Check the endpoint, which ends with /v1, and the served name.",
            detail,
            kind,
        )
    if kind == Kind.QUOTA:
        return ModelServerError(
            "The quota of the model server is used up.",
            "The person who registered the model can renew it with the provider.",
            detail,
            kind,
        )
    if kind == Kind.THROTTLED:
        return too_many(detail)
    if status < 500:
        return ModelServerError(
            f"The model server refused the question (HTTP {status}).",
            "Ask something shorter, or try again.",
            detail,
            kind,
        )
    return ModelServerError(
        f"The model server failed at this answer (HTTP {status}).",
        "Try again. If it happens again, its log says why.",
        detail,
        kind,
    )
