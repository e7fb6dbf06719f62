"""Files of preference pairs as people have them, taken in by one upload."""

from __future__ import annotations

from dataclasses import asdict

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.decorators import api_view, parser_classes
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response

from annotate.actions.imports import import_hh_rlhf
from annotate.api.access import find_project
from annotate.api.fields import IDEMPOTENCY_KEY, Choice, Input, refusals
from annotate.api.idempotency import idempotent


class Upload(Input):
    project = serializers.SlugField(max_length=50)
    format = Choice(["hh-rlhf"], required=False, default="hh-rlhf")
    source = serializers.CharField(required=False, max_length=60, help_text="Names the import; else the file's name.")
    file = serializers.FileField(help_text="JSON lines, gzipped or not.", allow_empty_file=True)


class SkippedOut(serializers.Serializer):
    line = serializers.IntegerField()
    reason = serializers.CharField()


class ImportOut(serializers.Serializer):
    prompts = serializers.IntegerField(help_text="New ones.")
    completions = serializers.IntegerField(help_text="New ones.")
    comparisons = serializers.IntegerField(help_text="New ones.")
    already = serializers.IntegerField(help_text="Pairs that had been imported before.")
    skipped = SkippedOut(many=True, help_text="Lines that could not be read, and why.")


@extend_schema(
    request={"multipart/form-data": Upload},
    responses={201: ImportOut} | refusals(400, 403, 404, 413),
    parameters=[IDEMPOTENCY_KEY],
    tags=["feedback"],
)
@api_view(["POST"])
@parser_classes([MultiPartParser])
@idempotent(whole_body=False)
def import_comparisons(request: Request) -> Response:
    """Import a file of pairs. `hh-rlhf`: on each line two transcripts, chosen and rejected, that share their beginning.

    The shared turns become the prompt, the last answers its completions. The same file twice adds nothing twice.
    """
    given = Upload(data=request.data)
    given.is_valid(raise_exception=True)
    project = find_project(request.user, given.validated_data["project"])
    file = given.validated_data["file"]
    source = given.validated_data.get("source") or (file.name or "upload")[:60]
    return Response(asdict(import_hh_rlhf(project=project, file=file, source=source, by=request.user)), status=201)
