"""Answer every error of the API as JSON: {"errors": {field: what is wrong and what would be right}}."""

from __future__ import annotations

import logging
from typing import Any

from django.core.exceptions import PermissionDenied, RequestDataTooBig
from django.core.signals import got_request_exception
from django.db import OperationalError
from django.db.models import ProtectedError
from django.http import Http404, HttpRequest, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from drf_spectacular.generators import SchemaGenerator
from rest_framework import exceptions
from rest_framework.response import Response
from rest_framework.views import set_rollback

from annotate.core.errors import Refused
from annotate.core.rights import declare
from common.artefacts.storage_problems import StorageProblem

log = logging.getLogger(__name__)
Errors = dict[str, str]
_SIGN_IN = "Send `Authorization: Token …`; POST auth/token/ with username and password returns a token."


def exception_handler(error: Exception, context: dict[str, Any]) -> Response:
    """Answer Refused and whatever else stops a request. What nobody expected is logged and reported, without a
    detail."""
    set_rollback()
    headers: dict[str, str] = {}
    if isinstance(error, Refused):
        if error.retry_after:
            headers["Retry-After"] = str(error.retry_after)
        return Response({"errors": _sayable(error.errors)}, status=error.status, headers=headers)
    if isinstance(error, exceptions.APIException):
        if getattr(error, "auth_header", None):
            headers["WWW-Authenticate"] = error.auth_header
        if getattr(error, "wait", None):
            headers["Retry-After"] = f"{error.wait:.0f}"
        return Response({"errors": _sayable(_named(error, context))}, status=error.status_code, headers=headers)
    if isinstance(error, Http404):
        return Response({"errors": {"address": "There is nothing here, or you may not see it."}}, status=404)
    if isinstance(error, PermissionDenied):
        return Response({"errors": {"authorization": "You may not do this."}}, status=403)
    if isinstance(error, RequestDataTooBig):
        return Response({"errors": {"body": "The request is too large; send it in several parts."}}, status=413)
    if isinstance(error, ProtectedError):
        return Response({"errors": {"body": "Other rows depend on this one, so it cannot be deleted."}}, status=409)
    if isinstance(error, StorageProblem):
        log.error("The storage failed for %s %s: %s", context["request"].method, context["request"].path, error)
        return Response({"errors": {"storage": error.public}}, status=503, headers={"Retry-After": "5"})
    if isinstance(error, OperationalError):
        return _database_is_busy(error, context["request"])
    return _unexpected(error, context["request"])


class KeptSchema(SchemaGenerator):
    """Serve the schema, made once for each process: it takes a second or two, is the same for all, and anybody may ask
    for it."""

    _made: dict[str, Any] = {}

    def get_schema(self, request: Any = None, public: bool = False) -> dict[str, Any]:
        if not self._made:
            self._made.update(super().get_schema(request=None, public=True))
        return self._made


def refusals_of_all(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """Add the one shape of refusals to every operation that does not describe its own."""
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/ErrorsOut"}}}
    for operations in result["paths"].values():
        for operation in operations.values():
            refusal = {
                "content": content,
                "description": "The request is refused: which field, what is wrong, how to correct it.",
            }
            operation["responses"].setdefault("4XX", refusal)
    return result


@csrf_exempt
def no_such_address(request: HttpRequest) -> JsonResponse:
    """Answer addresses below /api/ that do not exist."""
    text = f"There is no {request.path}; /api/docs/ lists all addresses. They end with a slash."
    return JsonResponse({"errors": {"address": text}}, status=404)


declare(no_such_address, dict.fromkeys(("get", "post", "put", "patch", "delete"), "anybody"))


def _sayable(errors: Errors) -> Errors:
    """Return the errors with a question mark for half a surrogate pair: some repeat what was sent, which may hold one
    as the name of a field."""
    return {_utf8(field): _utf8(text) for field, text in errors.items()}


def _utf8(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8")


def _named(error: exceptions.APIException, context: dict[str, Any]) -> Errors:
    if isinstance(error, exceptions.ValidationError):
        return _flat(error.detail)
    detail = str(error.detail)
    if isinstance(error, exceptions.ParseError):
        return {"body": f"The body does not match its Content-Type: {detail.rstrip('.')}. Send valid JSON in UTF-8."}
    if isinstance(error, exceptions.NotAuthenticated | exceptions.AuthenticationFailed):
        return {"authorization": f"{detail.rstrip('.')}. {_SIGN_IN}"}
    if isinstance(error, exceptions.PermissionDenied):
        return {"authorization": detail}
    if isinstance(error, exceptions.MethodNotAllowed):
        allowed = ", ".join(context["view"].allowed_methods)
        return {"method": f"{context['request'].method} is not possible here; use {allowed}."}
    if isinstance(error, exceptions.UnsupportedMediaType):
        return {"Content-Type": f"{detail} Use application/json."}
    if isinstance(error, exceptions.NotAcceptable):
        return {"Accept": f"{detail} Use application/json."}
    return {"request": detail}


def _flat(detail: Any, path: str = "") -> Errors:
    """Return errors by path: `{"rows": [{}, {"winner": ["…"]}]}` becomes `{"rows.1.winner": "…"}`."""
    if isinstance(detail, dict):
        pairs = [(_joined(path, str(name)), value) for name, value in detail.items()]
    elif isinstance(detail, list) and any(isinstance(item, dict | list) for item in detail):
        pairs = [(_joined(path, str(index)), value) for index, value in enumerate(detail)]
    else:
        texts = detail if isinstance(detail, list) else [detail]
        return {path or "body": " ".join(str(text) for text in texts)} if texts else {}
    return {name: text for inner, value in pairs for name, text in _flat(value, inner).items()}


def _joined(path: str, name: str) -> str:
    if name == "non_field_errors":
        return path or "body"
    return f"{path}.{name}" if path else name


def _database_is_busy(error: OperationalError, request: Any) -> Response:
    """Answer that the database is busy: no connection, or no turn to write, in time; or it has gone away meanwhile."""
    log.error("The database was not there for %s %s: %s", request.method, request.path, error)
    text = (
        "The database did not answer in time. Send the request again later, with the same Idempotency-Key "
        "if you use one, so that nothing is stored twice."
    )
    return Response({"errors": {"server": text}}, status=503, headers={"Retry-After": "5"})


def _unexpected(error: Exception, request: Any) -> Response:
    log.error("The API failed at %s %s", request.method, request.path, exc_info=error)
    got_request_exception.send(sender=exception_handler, request=request._request)
    text = "The server failed, and nothing was changed. The server's log has the error. Try again later."
    return Response({"errors": {"server": text}}, status=500)
