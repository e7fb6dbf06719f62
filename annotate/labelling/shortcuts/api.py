"""One's own keys for the annotation page, as the page for them has it."""

from __future__ import annotations

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from annotate.core.api.api_access import allows
from annotate.core.api.serializer_fields import refusals
from annotate.core.errors import Refused
from annotate.labelling.shortcuts import actions
from annotate.labelling.shortcuts.keys import merged

# {action: key}; GET lists all actions.
KEYS = {"type": "object", "additionalProperties": {"type": "string"}}
_TOLD = {(200, "application/json"): KEYS}


@extend_schema(methods=["GET"], responses=_TOLD, operation_id="shortcuts_read")
@extend_schema(
    methods=["PATCH"],
    request={"application/json": KEYS},
    responses=_TOLD | refusals(400),
    operation_id="shortcuts_change",
)
@extend_schema(methods=["DELETE"], responses=_TOLD, operation_id="shortcuts_reset")
@allows(get="account", patch="account", delete="account")
def shortcuts(request: Request) -> Response:
    """Return my keys on the annotation page, with the defaults; PATCH changes some, DELETE goes back to the
    defaults."""
    if request.method == "DELETE":
        return Response(actions.reset(user=request.user))
    if request.method == "PATCH":
        if not isinstance(request.data, dict):
            raise Refused(400, shortcuts='Send an object of actions and keys, such as {"comment": "m"}.')
        return Response(actions.change(user=request.user, keys=request.data))
    return Response(merged(request.user.shortcuts))
