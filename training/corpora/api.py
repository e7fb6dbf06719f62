"""Files for corpora over the API: what `sources` may name, and uploading more."""

from __future__ import annotations

from dataclasses import asdict

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.decorators import parser_classes
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response

from annotate.core.api.api_access import allows
from annotate.core.api.lookup import find_project
from annotate.core.api.serializer_fields import PROJECT, FileField, Input, refusals
from annotate.core.errors import Refused
from annotate.core.large_uploads import takes_files
from annotate.core.permissions import require
from training.corpora import actions as corpora
from training.corpora.catalogue import CATALOGUE


class CorpusUpload(Input):
    project = serializers.SlugField(max_length=50)
    file = FileField(help_text="txt, jsonl or parquet, gzipped or not.", allow_empty_file=True)


class CorpusFileOut(serializers.Serializer):
    name = serializers.CharField(help_text="The line for `config.sources`.")
    bytes = serializers.IntegerField()
    is_own = serializers.BooleanField(help_text="true: uploaded to this project; false: provided by the operator.")


class HubCorpusOut(serializers.Serializer):
    title = serializers.CharField()
    what = serializers.CharField()
    size = serializers.CharField()
    licence = serializers.CharField()
    line = serializers.CharField(help_text="For `config.sources`.")
    text_field = serializers.CharField()
    languages = serializers.CharField()
    note = serializers.CharField()
    card = serializers.URLField()


class SourcesOut(serializers.Serializer):
    files = CorpusFileOut(many=True)
    hub = HubCorpusOut(many=True)


@takes_files
@extend_schema(methods=["GET"], responses={200: SourcesOut} | refusals(400, 403, 404), parameters=[PROJECT])
@extend_schema(
    methods=["POST"],
    request={"multipart/form-data": CorpusUpload},
    responses={201: CorpusFileOut} | refusals(400, 403, 404, 409, 413),
)
@allows(get="research", post="research")
@parser_classes([MultiPartParser])
def corpora_sources(request: Request) -> Response:
    """List the files that corpora of a project may read, and Hub corpora by exact name; POST uploads a file.

    A file keeps its name and its content: a run that has read it must find it again.
    """
    if request.method == "GET":
        if not (slug := request.query_params.get("project", "").replace("\x00", "")):
            raise Refused(400, project="Send the project: ?project=<slug>.")
        project = find_project(request.user, slug)
        require(request.user, "research", project)
        return Response(SourcesOut({"files": map(asdict, corpora.files(project)), "hub": CATALOGUE}).data)
    corpus_upload = CorpusUpload.read(request)
    project = find_project(request.user, corpus_upload["project"])
    corpus_file = corpora.upload(project=project, file=corpus_upload["file"], by=request.user)
    return Response(asdict(corpus_file), status=201)
