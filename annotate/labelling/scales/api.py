"""A project's scales: read by its members, changed by its managers. One in use is retired, never renamed or deleted."""

from __future__ import annotations

from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from annotate.core.api.api_access import in_project
from annotate.core.api.idempotency import idempotent
from annotate.core.api.lookup import find
from annotate.core.api.serializer_fields import IDEMPOTENCY_KEY, Choice, Input, refusals
from annotate.core.errors import Refused
from annotate.labelling.scales import actions, proposing
from annotate.labelling.scales.proposed_scales import LONGEST
from annotate.models import Project, Scale


class ScaleFields(Input):
    title = serializers.CharField(max_length=80, required=False)
    definition = serializers.CharField(
        required=False, allow_blank=True, help_text="Markdown. Annotators see it beside the scale."
    )
    low = serializers.CharField(max_length=80, required=False, allow_blank=True)
    high = serializers.CharField(max_length=80, required=False, allow_blank=True)
    is_required = serializers.BooleanField(required=False)
    position = serializers.IntegerField(required=False, min_value=0, max_value=1000)


class NewScale(ScaleFields):
    kind = Choice(Scale.Kind.choices)
    name = serializers.SlugField(
        max_length=40, help_text="The name in data. It cannot change after the first annotation."
    )


class ScaleChange(ScaleFields):
    name = serializers.SlugField(max_length=40, required=False, help_text="Only before the first annotation.")
    retired = serializers.BooleanField(
        required=False, help_text="true: annotators no longer see it; false brings it back."
    )


class DeclaredScaleOut(serializers.ModelSerializer):
    in_use = serializers.SerializerMethodField(help_text="Annotations use it, so it can be retired but not deleted.")

    class Meta:
        model = Scale
        fields = (
            *("id", "kind", "name", "title", "definition", "low", "high", "is_required", "position", "retired_at"),
            "in_use",
        )

    def get_in_use(self, scale: Scale) -> bool:
        return actions.in_use(scale)


@extend_schema(methods=["GET"], responses={200: DeclaredScaleOut(many=True)} | refusals(404))
@extend_schema(
    methods=["POST"],
    request=NewScale,
    responses={201: DeclaredScaleOut} | refusals(400, 403, 404, 409, 413),
    parameters=[IDEMPOTENCY_KEY],
)
@in_project(get="read", post="manage")
def scales(request: Request, project: Project) -> Response:
    """List what annotators answer by. A project without any of thumbs, stars and aspects asks for thumbs and stars."""
    if request.method == "GET":
        return Response(DeclaredScaleOut(project.scales.all(), many=True).data)
    return _add(request, project)


@idempotent()
def _add(request: Request, project: Project) -> Response:
    scale = actions.add(project=project, by=request.user, **NewScale.read(request))
    return Response(DeclaredScaleOut(scale).data, status=201)


class Interface(Input):
    interface = serializers.CharField(
        max_length=LONGEST, trim_whitespace=False, help_text="Label Studio's labelling XML, or Argilla's settings.json."
    )
    apply = serializers.BooleanField(required=False, default=False, help_text="true: add them; false: only propose.")


class ProposedScaleOut(serializers.Serializer):
    kind = Choice(Scale.Kind.choices)
    name = serializers.CharField()
    title = serializers.CharField()
    definition = serializers.CharField()
    is_required = serializers.BooleanField()
    origin = serializers.CharField(help_text="The part of the interface that it comes from.")


class ProposedOut(serializers.Serializer):
    new = ProposedScaleOut(many=True)
    standing = ProposedScaleOut(many=True, help_text="Scales that exist already under this name or of this kind.")
    settings = serializers.ListField(child=serializers.CharField(), help_text="Settings of the project to switch on.")
    notes = serializers.ListField(child=serializers.CharField(), help_text="What was not converted, and why.")


@extend_schema(
    request=Interface,
    responses={200: ProposedOut, 201: ProposedOut} | refusals(400, 403, 404, 409),
    parameters=[IDEMPOTENCY_KEY],
)
@in_project(post="manage")
@idempotent()
def propose(request: Request, project: Project) -> Response:
    """Tell which scales another tool's labelling interface proposes; with `apply`, add them: 201."""
    fields = Interface.read(request)
    applies = fields["apply"]
    do = proposing.take if applies else proposing.look
    proposed = do(project=project, text=fields["interface"], by=request.user)
    body = ProposedOut(
        {
            "new": proposed.new,
            "standing": [one for one, _ in proposed.standing],
            "settings": proposed.settings,
            "notes": proposed.notes,
        }
    ).data
    return Response(body, status=201 if applies and proposed.new else 200)


@extend_schema(methods=["GET"], responses={200: DeclaredScaleOut} | refusals(404))
@extend_schema(
    methods=["PATCH"],
    request=ScaleChange,
    responses={200: DeclaredScaleOut} | refusals(400, 403, 404, 409, 413),
)
@extend_schema(
    methods=["DELETE"],
    responses={204: OpenApiResponse(description="Deleted; no annotation used it.")} | refusals(403, 404, 409),
)
@in_project(get="read", patch="manage", delete="manage")
def scale(request: Request, project: Project, pk: str) -> Response:
    scale_row = find(project.scales.all(), pk, "scale")
    if request.method == "GET":
        return Response(DeclaredScaleOut(scale_row).data)
    if request.method == "DELETE":
        actions.delete(scale=scale_row, by=request.user)
        return Response(status=204)
    return Response(DeclaredScaleOut(_changed(project, scale_row, request)).data)


def _changed(project: Project, scale: Scale, request: Request) -> Scale:
    fields = ScaleChange.read(request)
    retired = fields.pop("retired", None)
    if not fields and retired is None:
        raise Refused(400, title="The request changes nothing; send at least one field.")
    if fields:
        actions.change(scale=scale, by=request.user, **fields)
    if retired is not None:
        (actions.retire if retired else actions.bring_back)(scale=scale, by=request.user)
    return scale
