"""Serve the default model of a project to programs: where it is, and an address that always answers with it.

OpenAI's clients take `…/api/v1/projects/<slug>/default-model/v1` for their base_url and a token of this site for their
key: whoever uses that needs no new address when a model is promoted or rolled back.
"""

from __future__ import annotations

import time
import uuid
from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.authentication import SessionAuthentication
from rest_framework.decorators import authentication_classes
from rest_framework.request import Request
from rest_framework.response import Response

from annotate.core.api.api_access import in_project
from annotate.core.api.serializer_fields import Input, Turn, refusals
from annotate.core.api.token_authentication import TokenAuthentication
from annotate.core.asgi import waiting
from annotate.core.errors import Refused
from annotate.core.permissions import can
from annotate.language_models import model_server, model_server_errors
from annotate.language_models.model_access import require_talk
from annotate.language_models.model_settings import sampling_for, system_prompt_for
from annotate.language_models.serving import address_of
from annotate.models import Project
from common.sampling import with_system_prompt
from evaluation.core import served_model
from evaluation.models import Promotion


class BearerToken(TokenAuthentication):
    """Accept the same token as OpenAI's clients send their key."""

    keyword = "Bearer"


class BearerScheme(OpenApiAuthenticationExtension):
    target_class = BearerToken
    name = "bearerToken"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer"}


class DefaultModelOut(serializers.Serializer):
    model = serializers.IntegerField(source="model.pk")
    name = serializers.CharField(source="model.name")
    endpoint = serializers.CharField(help_text="The base_url for an OpenAI client; only for researchers.")
    served_name = serializers.CharField(help_text="The `model` of its requests; only for researchers.")
    since = serializers.DateTimeField(source="created_at")
    why = serializers.CharField(source="reason")
    is_automatic = serializers.BooleanField()
    retired = serializers.BooleanField()


class ChatIn(Input):
    """Read a chat request by OpenAI's own names. `model` may be anything: it is always the project's default that
    answers."""

    model = serializers.CharField(required=False, allow_blank=True, default="")
    messages = Turn(many=True, allow_empty=False)
    max_tokens = serializers.IntegerField(required=False, min_value=1, max_value=8192)
    max_completion_tokens = serializers.IntegerField(required=False, min_value=1, max_value=8192)
    temperature = serializers.FloatField(required=False, min_value=0, max_value=2)
    top_p = serializers.FloatField(required=False, min_value=0.01, max_value=1)
    seed = serializers.IntegerField(required=False, allow_null=True, default=None, min_value=0, max_value=2**31 - 1)
    n = serializers.IntegerField(required=False, min_value=1, max_value=1, default=1)
    stream = serializers.BooleanField(required=False, default=False)
    user = serializers.CharField(required=False, allow_blank=True, default="")


class MessageOut(serializers.Serializer):
    role = serializers.CharField()
    content = serializers.CharField()
    reasoning = serializers.CharField(
        required=False, help_text="The model's reasoning before the answer, if there is any."
    )


class ChoiceOut(serializers.Serializer):
    index = serializers.IntegerField()
    message = MessageOut()
    finish_reason = serializers.CharField()


class ChatOut(serializers.Serializer):
    id = serializers.CharField()
    object = serializers.CharField()
    created = serializers.IntegerField()
    model = serializers.CharField(help_text="The name of the model that is served by default now.")
    choices = ChoiceOut(many=True)
    usage = serializers.DictField(allow_null=True)


@extend_schema(responses={200: DefaultModelOut} | refusals(404))
@in_project(get="read")
def default_model(request: Request, project: Project) -> Response:
    """Return what the project serves by default: where it is, since when and why. 404 while nothing has been
    promoted."""
    served = _served(project)
    knows_where = can(request.user, "research", project)  # where things lie on the server is nobody else's business
    served.endpoint = address_of(served.model) if knows_where else ""  # type: ignore[attr-defined]
    served.served_name = served.model.server_name if knows_where else ""  # type: ignore[attr-defined]
    served.retired = served.model.retired_at is not None  # type: ignore[attr-defined]
    return Response(DefaultModelOut(served).data)


@extend_schema(request=ChatIn, responses={200: ChatOut} | refusals(400, 403, 404, 409, 429, 503))
@in_project(post="research")
@authentication_classes([BearerToken, TokenAuthentication, SessionAuthentication])
def chat_completions(request: Request, project: Project) -> Response:
    """Ask whatever the project serves by default, in OpenAI's words; for those who may talk with models by name."""
    served = _served(project).model
    require_talk(request.user, served, project)
    if served.retired_at is not None:
        raise Refused(
            409, model=f"{served} is served by default and was retired; ask a manager to promote another model."
        )
    if not served.answers:
        raise Refused(
            409, model=f"{served} has no weights and no endpoint to answer with; ask a manager to promote its parent."
        )
    fields = ChatIn.read(request)
    if fields["stream"]:
        raise Refused(400, stream="Streaming is not possible here; leave it out, or use the model's own server.")
    try:
        sampling, room = sampling_for(project, served), fields.get("max_completion_tokens") or fields.get("max_tokens")
        with waiting.aside_in_thread(f"user:{request.user.pk}"):
            reply = model_server.complete_chat(
                served,
                with_system_prompt(fields["messages"], system_prompt_for(project, served)),
                max_new_tokens=room or sampling["max_new_tokens"],
                temperature=fields.get("temperature", sampling["temperature"]),
                top_p=fields.get("top_p", sampling["top_p"]),
                seed=fields["seed"],
            )
    except model_server_errors.ModelServerError as error:
        raise Refused(503, server=str(error)) from error
    return Response(_chat_completion(served.name, reply))


def _chat_completion(name: str, reply: model_server.Reply) -> dict[str, Any]:
    message = {"role": "assistant", "content": reply.text}
    if reply.reasoning:
        message["reasoning"] = reply.reasoning
    return {
        "id": f"chatcmpl-{uuid.uuid4().hex}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": name,
        "choices": [{"index": 0, "message": message, "finish_reason": reply.finish_reason or "stop"}],
        "usage": {"completion_tokens": reply.tokens} if reply.tokens is not None else None,
    }


def _served(project: Project) -> Promotion:
    in_force = served_model.promoted(project)
    if in_force is None:
        raise Refused(404, project=f"{project} has no default model yet; ask a manager to promote one.")
    return in_force
