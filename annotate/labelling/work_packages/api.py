"""Give prompts to named people, and take them back, for programs."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from annotate.core.api.api_access import in_project
from annotate.core.api.idempotency import idempotent
from annotate.core.api.lookup import find
from annotate.core.api.serializer_fields import IDEMPOTENCY_KEY, Input, refusals
from annotate.labelling.work_packages import actions, present
from annotate.models import Project, WorkPackage
from common.languages import language_tags


class NewPackage(Input):
    name = serializers.CharField(
        max_length=actions.LONGEST_NAME, required=False, allow_blank=True, default="",
        help_text="By default made from the filters and the date.",
    )  # fmt: skip
    people = serializers.ListField(child=serializers.CharField(max_length=150), min_length=1, max_length=1000)
    per_prompt = serializers.IntegerField(
        required=False,
        allow_null=True,
        default=None,
        min_value=1,
        help_text="How many of the people get each prompt; by default all.",
    )
    is_exclusive = serializers.BooleanField(
        required=False, default=True, help_text="Nobody else gets these prompts meanwhile."
    )
    until = serializers.DateTimeField(required=False, allow_null=True, default=None)
    category = serializers.CharField(required=False, allow_blank=True, default="", max_length=60)
    language = serializers.CharField(required=False, allow_blank=True, default="", max_length=language_tags.LONGEST)
    source = serializers.CharField(required=False, allow_blank=True, default="", max_length=200)
    never_annotated = serializers.BooleanField(required=False, default=False)
    limit = serializers.IntegerField(
        required=False, default=actions.MOST_PROMPTS, min_value=1, max_value=actions.MOST_PROMPTS
    )


class ShareOut(serializers.Serializer):
    username = serializers.CharField()
    given = serializers.IntegerField(help_text="Prompts.")
    done = serializers.IntegerField()
    left = serializers.IntegerField()
    released = serializers.IntegerField()


class PackageOut(serializers.ModelSerializer):
    people = serializers.SerializerMethodField()

    class Meta:
        model = WorkPackage
        fields = ("id", "name", "is_exclusive", "until", "created_at", "ended_at", "people")

    def get_people(self, package: WorkPackage) -> list[dict[str, Any]]:
        return list(ShareOut(present.shares_of(package), many=True).data)


class TakeBack(Input):
    username = serializers.CharField(
        required=False, allow_blank=True, default="", max_length=150, help_text="Empty: of all people."
    )


class PackageLine(serializers.Serializer):
    id = serializers.IntegerField(source="package.pk")
    name = serializers.CharField(source="package.name")
    people = serializers.IntegerField()
    given = serializers.IntegerField(help_text="Prompts; each counts once for each person who has it.")
    done = serializers.IntegerField()
    left = serializers.IntegerField()


@extend_schema(methods=["GET"], responses={200: PackageLine(many=True)} | refusals(403, 404))
@extend_schema(
    methods=["POST"],
    request=NewPackage,
    responses={201: PackageOut} | refusals(400, 403, 404, 409, 413),
    parameters=[IDEMPOTENCY_KEY],
)
@in_project(get="manage", post="manage")
def packages(request: Request, project: Project) -> Response:
    """Packages of work; a new one gives the prompts that agree with `category`, `language` and `source` to
    people."""
    if request.method == "GET":
        return Response(PackageLine(present.packages_of(project), many=True).data)
    return _give(request, project)


@idempotent()
def _give(request: Request, project: Project) -> Response:
    order = NewPackage.read(request)
    selection = {name: order.pop(name) for name in ("category", "language", "source", "never_annotated", "limit")}
    package = actions.give(
        project=project, by=request.user, selection=actions.Selection(**selection), terms=actions.Terms(**order)
    )
    return Response(PackageOut(package).data, status=201)


@extend_schema(responses={200: PackageOut} | refusals(403, 404))
@in_project(get="manage")
def package(request: Request, project: Project, pk: str) -> Response:
    """What each person was given of a package, and has left."""
    return Response(PackageOut(find(_packages(project), pk, "package")).data)


@extend_schema(
    request=TakeBack, responses={200: PackageOut} | refusals(400, 403, 404, 409), parameters=[IDEMPOTENCY_KEY]
)
@in_project(post="manage")
@idempotent()
def take_back(request: Request, project: Project, pk: str) -> Response:
    """Take back what is left, of one person or of all."""
    form = TakeBack.read(request)
    package = find(_packages(project), pk, "package")
    actions.take_back(package=package, by=request.user, **form)
    return Response(PackageOut(package).data)


def _packages(project: Project) -> Any:
    return project.work_packages.select_related("project")
