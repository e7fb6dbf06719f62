"""The adapters on a base at its server, for programs. One is loaded again by `POST models/{id}/serving/`."""

from __future__ import annotations

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from annotate.core.api.api_access import allows
from annotate.core.api.lookup import find
from annotate.core.api.serializer_fields import Input, refusals
from annotate.core.permissions import models_seen
from annotate.language_models.model_access import researched_home
from annotate.models import LanguageModel, ServedAdapter
from training.serving import actions, present
from training.serving.actions import LONGEST_FOLDER, MOST_ADAPTERS
from training.serving.served_names import settings_of


class AdapterOut(serializers.Serializer):
    model = serializers.IntegerField(source="model.pk")
    name = serializers.CharField(source="model.name")
    state = serializers.ChoiceField(ServedAdapter.State.choices, source="row.state")
    problem = serializers.CharField(source="row.problem", help_text="Why it is not loaded, and what to do.")
    dialect = serializers.CharField(source="row.dialect", help_text="vllm, transformers or llama.cpp.")
    loaded_at = serializers.DateTimeField(source="row.loaded_at", allow_null=True)
    load_seconds = serializers.FloatField(source="row.load_seconds", allow_null=True)
    last_used = serializers.DateTimeField(allow_null=True)
    seconds_to_loaded = serializers.FloatField(allow_null=True, help_text="From the end of its run.")
    seconds_to_first_battle = serializers.FloatField(allow_null=True, help_text="From the end of its run.")
    rank = serializers.IntegerField(allow_null=True)
    bytes = serializers.IntegerField(help_text="On the disk.")


class AdaptersOut(serializers.Serializer):
    limit = serializers.IntegerField(help_text="Maximum adapters of this base in its server's memory.")
    data_folder = serializers.CharField(help_text="Path of ASSAY_DATA on the server; empty: the same path as here.")
    adapters = AdapterOut(many=True)


class AdapterServerIn(Input):
    limit = serializers.IntegerField(required=False, min_value=1, max_value=MOST_ADAPTERS)
    data_folder = serializers.CharField(required=False, allow_blank=True, max_length=LONGEST_FOLDER)


@extend_schema(methods=["GET"], responses={200: AdaptersOut} | refusals(403, 404))
@extend_schema(
    methods=["PATCH"],
    request=AdapterServerIn,
    responses={200: AdaptersOut} | refusals(400, 403, 404),
)
@allows(get="research", patch="research")
def adapters(request: Request, pk: str) -> Response:
    """Return the children of a model at its server. PATCH changes how many it keeps, for who may change the model."""
    model: LanguageModel = find(models_seen(request.user), pk, "model")
    researched_home(request.user, model)
    server = settings_of(model)
    if request.method == "PATCH":
        fields = {"limit": server.limit, "data_folder": server.data_folder, **AdapterServerIn.read(request)}
        server = actions.change_server(base=model, by=request.user, **fields)
    listed = {
        "limit": server.limit,
        "data_folder": server.data_folder,
        "adapters": present.of_base(model, request.user),
    }
    return Response(AdaptersOut(listed).data)
