"""A project's feedback as a file of any format."""

from __future__ import annotations

from django.http import HttpResponseBase
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request

from annotate.core.api.api_access import in_project
from annotate.core.api.serializer_fields import refusals
from annotate.core.asgi.downloads import download
from annotate.data.exports.actions import FILES, OWN, export_feedback
from annotate.data.exports.export_options import requested_options
from annotate.data.formats import FORMATS
from annotate.data.formats.containers import content_type
from annotate.models import AnnotatorKind, Project, Split, Status

# A file of JSON is read as such by whoever knows the schema: it may hold any value.
FILE_TYPES = {
    (200, content_type(file).partition(";")[0]): OpenApiTypes.ANY if file == "json" else OpenApiTypes.BINARY
    for file in FILES
}
_PARAMETERS = [
    OpenApiParameter("format", enum=list(FORMATS), description=f"{OWN}, Assay's own rows, by default."),
    OpenApiParameter("file", enum=list(FILES), description="By default the usual type of the format."),
    OpenApiParameter("judge", enum=AnnotatorKind.values, description="Whose feedback; by default people's."),
    OpenApiParameter("status", enum=Status.values, many=True, description="By default counted."),
    OpenApiParameter("side", enum=Split.values, description="Only this split."),
    OpenApiParameter("source", many=True, description="annotation, arena, or an import's name; by default all."),
    OpenApiParameter("measures", OpenApiTypes.BOOL, description="Include gold items, repeats and the tutorial."),
]


@extend_schema(
    parameters=_PARAMETERS,
    responses=FILE_TYPES | refusals(400, 403, 404),
)
@in_project(get="review")
def export_project(request: Request, project: Project) -> HttpResponseBase:
    """Stream the feedback as a file. What was imported comes out as it came in; see docs/guides/import-export.md."""
    export = export_feedback(project=project, by=request.user, **requested_options(request.query_params))
    return download(request._request, export.parts, name=export.name, content_type=export.content_type)
