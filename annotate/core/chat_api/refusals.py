"""Read what an OpenAI-compatible server means by a refusal, and what it takes instead. Pure.

Servers agree on little but the status: the code, the type and the words of a refusal differ, and so each kind is told
by the words that OpenAI, vLLM, llama.cpp and `transformers serve` use for it.
"""

from __future__ import annotations

import json
import re
import ssl
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import httpx

from annotate.core.network import outbound

Body = dict[str, Any]


class Kind(StrEnum):
    """Name why an answer did not come."""

    ADDRESS = "address"  # nobody listens there, or the name means nothing
    TLS = "tls"  # the certificate is not valid, or plain HTTP is spoken there
    PRIVATE = "private"  # this network alone reaches it, and the operator does not allow it
    KEY = "key"
    NAME = "name"  # no such model
    CONTEXT = "context"  # the question is too long
    TEMPLATE = "template"
    THROTTLED = "throttled"
    QUOTA = "quota"  # it was paid for, and is used up
    TIME_OUT = "time-out"
    CUT = "cut"  # the connection broke off
    PROTOCOL = "protocol"  # no OpenAI protocol is spoken there
    REFUSED = "refused"
    FAILED = "failed"  # the server's own fault


_CONTEXT = re.compile(r"context.{0,20}(length|size|window)|maximum context|too many tokens|prompt is too long", re.I)
_TEMPLATE = re.compile(r"template|jinja|roles must alternate|system role not supported", re.I)
# Not "billing" alone: ordinary throttling names the page where more can be bought.
_QUOTA = re.compile(
    r"insufficient_quota|billing_hard_limit|billing_not_active|exceeded your current quota"
    r"|insufficient (funds|credits?)",
    re.I,
)
_MODEL = re.compile(r"model", re.I)
_MODERATED = re.compile(r"moderat|flagged|content.?(policy|filter)", re.I)  # one question, and not the key
# What some servers know by another name, or not at all: asked for again without it, once it was refused by its name.
# By its name alone it is not refused: a server may quote the whole request.
_OPTIONAL = ("temperature", "top_p", "seed", "n", "top_logprobs", "logprobs", "stream_options")


_UNTAKEN = r"unsupported|not supported|does not support|unknown|unrecognized|unexpected|not permitted|not allowed"
_NEAR = 60  # characters between an option and the word that refuses it


def kind_of(status: int, text: str) -> Kind:
    """Return why a server refused, of its HTTP status and the text of its answer."""
    if status == 403 and _MODERATED.search(text):
        return Kind.REFUSED
    if status in (401, 403):
        return Kind.KEY
    if status == 402 or (status == 429 and _QUOTA.search(text)):
        return Kind.QUOTA
    if status in (429, 503):
        return Kind.THROTTLED
    if status in (404, 405) or 300 <= status < 400:
        return Kind.NAME if status == 404 and is_error_object(text) and _MODEL.search(text) else Kind.ADDRESS
    if status == 413 or (status < 500 and _CONTEXT.search(text)):
        return Kind.CONTEXT
    if _TEMPLATE.search(text):
        return Kind.TEMPLATE
    if status in (408, 504, 524):
        return Kind.TIME_OUT
    if status < 500 and "model_not_found" in text:
        return Kind.NAME
    return Kind.REFUSED if status < 500 else Kind.FAILED


def kind_of_fault(error: httpx.HTTPError) -> Kind:
    """Return why no HTTP answer came at all, of what the client raised."""
    if isinstance(error, outbound.Refused):
        return Kind.PROTOCOL if isinstance(error, outbound.TooLong) else Kind.PRIVATE
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        return Kind.TLS if _is_about_tls(error) else Kind.ADDRESS
    return Kind.TIME_OUT if isinstance(error, httpx.TimeoutException) else Kind.CUT


def _is_about_tls(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ssl.SSLError) or "SSL" in str(error) or "CERTIFICATE" in str(error).upper():
            return True
        error = error.__cause__ or error.__context__
    return False


def is_error_object(text: str) -> bool:
    """Return whether it is an error as the protocol sends it, not a web page."""
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


def is_passing(status: int, text: str) -> bool:
    """Return whether the same question may be answered later."""
    if kind_of(status, text) == Kind.QUOTA:
        return False
    return status in (408, 409, 425, 429) or status >= 500


def adapted(body: Mapping[str, Any], refusal: str) -> Body | None:
    """Return the request as this server takes it, by what its refusal (400 or 422) names; None where nothing helps.

    Newer servers call the limit `max_completion_tokens`; models that think take no temperature.
    """
    if "max_tokens" in body and "max_completion_tokens" in refusal:
        changed = {**body, "max_completion_tokens": body["max_tokens"]}
        del changed["max_tokens"]
        return changed
    parameter = _parameter(refusal)
    for name in _OPTIONAL:
        if name in body and (parameter == name if parameter else _is_refused_by_name(name, refusal)):
            dropped_names = {name, "top_logprobs"} if name == "logprobs" else {name}
            return {key: value for key, value in body.items() if key not in dropped_names}
    return None


def _parameter(refusal: str) -> str:
    """Return what the error names as the cause in OpenAI's own field; "" without one."""
    try:
        parameter = json.loads(refusal)["error"]["param"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""
    return parameter if isinstance(parameter, str) else ""


def _is_refused_by_name(name: str, refusal: str) -> bool:
    named = rf"\b{name}\b['\"`]"
    return (
        re.search(rf"({_UNTAKEN}).{{0,{_NEAR}}}{named}|{named}.{{0,{_NEAR}}}({_UNTAKEN})", refusal, re.I | re.S)
        is not None
    )


def without_key(text: str, key: str) -> str:
    """Return what a server said, without the key that it may repeat."""
    return text.replace(key, "…") if key else text
