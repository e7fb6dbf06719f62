"""Serve exclusions to programs: what one would touch, the act, and its undoing."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from annotate.core.api.api_access import in_project
from annotate.core.api.idempotency import idempotent
from annotate.core.api.lookup import find, find_named
from annotate.core.api.serializer_fields import IDEMPOTENCY_KEY, Id, Input, refusals
from annotate.core.errors import Refused
from annotate.core.permissions import can, require
from annotate.labelling.bulk_status import Who, find_imported
from annotate.models import Project
from evaluation.annotator_quality import exclusion, exclusion_effects
from evaluation.annotator_quality.api import IMPORTED, annotators_in, requested_imported
from evaluation.models import Exclusion


class TouchedDatasetOut(serializers.Serializer):
    id = serializers.IntegerField()
    judgements = serializers.IntegerField()


class TouchedModelOut(serializers.Serializer):
    id = serializers.IntegerField()
    directly = serializers.BooleanField(
        help_text="true: trained on their annotations; false: descends from such a model."
    )


class TouchedPlaceOut(serializers.Serializer):
    model = serializers.IntegerField()
    rating = serializers.FloatField()
    rank = serializers.IntegerField()
    rating_without = serializers.FloatField(allow_null=True)
    rank_without = serializers.IntegerField(allow_null=True)


class TouchedOut(serializers.Serializer):
    changing = serializers.DictField(
        child=serializers.IntegerField(), help_text="Annotations that would change, by kind."
    )
    datasets = TouchedDatasetOut(many=True)
    runs = serializers.ListField(child=serializers.IntegerField())
    models = TouchedModelOut(many=True)
    votes = serializers.IntegerField(help_text="Their votes that rank models.")
    places = TouchedPlaceOut(many=True)


class ExclusionOut(serializers.ModelSerializer):
    person = serializers.IntegerField(
        source="person_id", allow_null=True, help_text="null: the annotator is only in an import."
    )
    person_name = serializers.CharField(source="name")
    touched = TouchedOut()

    class Meta:
        model = Exclusion
        fields = (
            *("id", "person", "person_name", "source", "source_judge", "status", "reason", "pauses", "touched"),
            *("by", "created_at"),
            *("undone_at", "undone_by", "undone_reason", "brought_back"),
        )


class NewExclusion(Input):
    person = Id(required=False)
    source = serializers.CharField(required=False, help_text="Instead of person: the import with the annotator …")
    source_judge = serializers.CharField(required=False, help_text="… and the annotator's name in it.")
    reason = serializers.CharField(max_length=exclusion.LONGEST_REASON)
    pauses = serializers.BooleanField(required=False, default=True, help_text="Also give them no new items.")


class Undoing(Input):
    reason = serializers.CharField(max_length=exclusion.LONGEST_REASON)


@extend_schema(responses={200: TouchedOut} | refusals(403, 404))
@in_project(get="manage or judge, mine")
def touched(request: Request, project: Project, pk: str) -> Response:
    """Return what excluding this person would touch, before it is done: for managers, and for the person themselves."""
    person = request.user if str(pk) == str(request.user.pk) else None
    require(request.user, "judge" if person else "manage", project)
    touched = exclusion_effects.touched_by(project, person or find(annotators_in(project), pk, "person"))
    return Response(TouchedOut(touched.as_json()).data)


@extend_schema(responses={200: TouchedOut} | refusals(403, 404), parameters=IMPORTED)
@in_project(get="manage")
def imported_touched(request: Request, project: Project) -> Response:
    """Return what excluding an annotator whom only an import names would touch, before it is done: for managers."""
    return Response(
        TouchedOut(exclusion_effects.touched_by(project, requested_imported(request, project)).as_json()).data
    )


@extend_schema(methods=["GET"], responses={200: ExclusionOut(many=True)} | refusals(403, 404))
@extend_schema(
    methods=["POST"],
    request=NewExclusion,
    responses={201: ExclusionOut} | refusals(400, 403, 404, 409),
    parameters=[IDEMPOTENCY_KEY],
)
@in_project(get="manage", post="manage or judge, mine")
def exclusions(request: Request, project: Project) -> Response:
    """List all exclusions, for managers. POST excludes a person, or an annotator whom only an import names; with
    oneself as the person it withdraws what one said."""
    if request.method == "POST":
        return _exclude(request, project)
    return Response(ExclusionOut(exclusion.acts(project)[:500], many=True).data)


@idempotent(atomic=False)  # it fits ratings; who is excluded already is refused
def _exclude(request: Request, project: Project) -> Response:
    fields = NewExclusion.read(request)
    if fields.get("person") != request.user.pk:
        require(request.user, "manage", project)
    person = _named(request, project, fields)
    act = exclusion.exclude(
        project=project, person=person, reason=fields["reason"], by=request.user, pauses=fields["pauses"]
    )
    return Response(ExclusionOut(act).data, status=201)


def _named(request: Request, project: Project, fields: dict[str, Any]) -> Who:
    """Return whom a request for an exclusion names: an account, or an annotator of an import."""
    imported = fields.keys() & {"source", "source_judge"}
    if "person" in fields and imported:
        raise Refused(400, person="Send a person, or source and source_judge of an import, not both.")
    if "person" in fields:
        is_self = fields["person"] == request.user.pk
        return request.user if is_self else find_named(annotators_in(project), fields["person"], "person")
    if len(imported) < 2:
        raise Refused(400, person="Send the person; or source and source_judge, if the annotator is only in an import.")
    annotator = find_imported(project, fields["source"], fields["source_judge"])
    if annotator is None:
        raise Refused(
            400, source_judge=f"{project} has no imported annotations under this name; quality/ lists the names."
        )
    return annotator


@extend_schema(
    request=Undoing,
    responses={200: ExclusionOut} | refusals(400, 403, 404, 409),
    parameters=[IDEMPOTENCY_KEY],
)
@in_project(post="manage or judge, mine")
@idempotent()
def undo(request: Request, project: Project, pk: str) -> Response:
    """Bring back what the act took out, and only that."""
    manages = can(request.user, "manage", project)
    visible_acts = exclusion.acts(project) if manages else exclusion.acts(project).filter(person=request.user)
    act = find(visible_acts, pk, "exclusion")
    undoing = Undoing.read(request)
    act = exclusion.undo(act=act, reason=undoing["reason"], by=request.user)
    return Response(ExclusionOut(act).data)
