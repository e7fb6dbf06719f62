"""Why a model server gave no answer: in words for whoever waits, and what researchers are told beside."""

from __future__ import annotations

import httpx
from django.conf import settings

from annotate.core.network import outbound
from annotate.models import LanguageModel


class ModelServerError(Exception):
    """`what` happened and the `remedy`, fit for anyone to read; `detail` is what the server said."""

    def __init__(self, what: str, remedy: str, detail: str = "") -> None:
        super().__init__(f"{what} {remedy}")
        self.what, self.remedy, self.detail = what, remedy, detail


class NotReached(ModelServerError):
    """Nothing listens there, or nobody knows the way."""


def told_to_researchers(model: LanguageModel, error: ModelServerError) -> str:
    """Return what a researcher reads of a failure: of the site's own server what it said, too, such as a folder's
    fault.

    Of somebody's endpoint never: whoever registered it may not be able to read what answers there.
    """
    return str(error) if model.endpoint else f"{error} {error.detail}".strip()


def in_words(error: httpx.HTTPError) -> ModelServerError:
    detail = f"{type(error).__name__}: {error}"
    if isinstance(error, outbound.TooLong):
        return ModelServerError("The model server's answer is too long.", "Ask for a shorter one.", detail)
    if isinstance(error, outbound.Refused):
        return ModelServerError(
            "The model server was not asked, or its answer not read.",
            f"An address inside this network must be allowed by the operator ({outbound.VARIABLE}).",
            detail,
        )
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        return NotReached(
            "The model server cannot be reached.",
            "It may still be starting: try again in a minute. Whoever runs this site starts it with script/server.",
            detail,
        )
    if isinstance(error, httpx.TimeoutException):
        return ModelServerError(
            f"The model server sent nothing for {settings.MODEL_SERVER_TIMEOUT:g} seconds.",
            "It may be busy: try again in a while.",
            detail,
        )
    return broke_off(detail)


def broke_off(detail: str) -> ModelServerError:
    return ModelServerError(
        "The connection to the model server broke off in the middle of this answer.", "Try again.", detail
    )


def not_understood(detail: str) -> ModelServerError:
    return ModelServerError(
        "The model server sent something that is not the OpenAI protocol.",
        "Check that the address is that of an OpenAI-compatible server and ends with /v1.",
        detail[:500],
    )


def refusal(response: httpx.Response, body: bytes) -> ModelServerError:
    code = response.status_code
    detail = f"HTTP {code}: {body[:500].decode('utf-8', 'replace')}"
    if code in (401, 403):
        return ModelServerError("The model server did not let us in.", "Its key or its rules must be changed.", detail)
    if code == 404:
        return ModelServerError(
            "The model server does not know this model, or has no such address.",
            "Check the endpoint, which ends with /v1, and the served name.",
            detail,
        )
    if code in (429, 503):
        return ModelServerError("The model server has too much to do just now.", "Try again in a while.", detail)
    if code < 500:
        return ModelServerError(
            f"The model server refused the question (HTTP {code}).", "Ask something shorter, or try again.", detail
        )
    return ModelServerError(
        f"The model server failed at this answer (HTTP {code}).", "Try again; if it stays so, its log says why.", detail
    )
