"""When notices of a project are mailed to me, as the page of one's account has it."""

from __future__ import annotations

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from annotate.core.api.api_access import in_project
from annotate.core.api.serializer_fields import Choice, Input, refusals
from annotate.models import NoticeMail, Project
from annotate.projects.accounts import notice_mail


class MailChoice(Input):
    when = Choice(NoticeMail.choices)


class MailChoiceOut(serializers.Serializer):
    when = Choice(NoticeMail.choices)


@extend_schema(methods=["GET"], responses={200: MailChoiceOut} | refusals(403, 404, 409))
@extend_schema(methods=["PUT"], request=MailChoice, responses={200: MailChoiceOut} | refusals(400, 403, 404, 409))
@in_project(get="research", put="research")
def my_notice_mail(request: Request, project: Project) -> Response:
    """Say when notices of the project are mailed to you; PUT changes it."""
    if request.method == "GET":
        return Response({"when": notice_mail.notified_membership(request.user, project).notice_mail})
    membership = notice_mail.choose_mail(user=request.user, project=project, **MailChoice.read(request))
    return Response({"when": membership.notice_mail})
