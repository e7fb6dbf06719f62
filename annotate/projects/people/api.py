"""Invitations, joining, and the audit trail of a project, for programs."""

from __future__ import annotations

from django.conf import settings
from django.urls import reverse
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from annotate.core import audit
from annotate.core.api.api_access import allows, in_project
from annotate.core.api.idempotency import idempotent
from annotate.core.api.lookup import find
from annotate.core.api.pagination import Newest, newest_first
from annotate.core.api.serializer_fields import IDEMPOTENCY_KEY, Choice, Input, refusals
from annotate.models import AuditEntry, Invitation, Project, Role
from annotate.projects import invitations
from annotate.projects.member_languages import LANGUAGES


class NewInvitation(Input):
    role = Choice(Role.choices)
    email = serializers.EmailField(required=False, allow_blank=True, default="")
    language = serializers.CharField(max_length=200, required=False, allow_blank=True, default="", help_text=LANGUAGES)


class InvitationOut(serializers.ModelSerializer):
    invited_by = serializers.CharField(source="invited_by.username", default="")

    class Meta:
        model = Invitation
        fields = (
            *("id", "role", "email", "invited_by", "created_at", "expires_at", "accepted_at", "revoked_at"),
            *("batch", "language", "mail", "mail_problem", "mailed_at", "opened_at"),
        )


class InvitationMade(InvitationOut):
    link = serializers.CharField(help_text="Works once; shown only now.")

    class Meta(InvitationOut.Meta):
        fields = (*InvitationOut.Meta.fields, "link")  # type: ignore[assignment]


class Accept(Input):
    token = serializers.CharField(max_length=100, help_text="The last part of the invitation's link.")


class MembershipOut(serializers.Serializer):
    project = serializers.CharField(source="project.slug")
    role = serializers.CharField()


class AuditOut(serializers.ModelSerializer):
    actor = serializers.CharField(source="actor.username", default="", help_text="Empty: the system.")

    class Meta:
        model = AuditEntry
        fields = ("id", "created_at", "actor", "action", "about", "changes", "reason")


@extend_schema(methods=["GET"], responses={200: InvitationOut(many=True)} | refusals(403, 404))
@extend_schema(
    methods=["POST"],
    request=NewInvitation,
    responses={201: InvitationMade} | refusals(400, 403, 404),
)
@in_project(get="manage", post="manage")
def project_invitations(request: Request, project: Project) -> Response:
    """List invitations into a project, for its managers."""
    if request.method == "GET":
        return Response(InvitationOut(project.invitations.select_related("invited_by"), many=True).data)
    new_invitation = NewInvitation.read(request)
    invitation, token = invitations.invite(project=project, by=request.user, **new_invitation)
    link = settings.SITE_URL + reverse("invitation", args=[token])
    return Response({**InvitationOut(invitation).data, "link": link}, status=201)


@extend_schema(request=None, responses={200: InvitationOut} | refusals(403, 404, 409), parameters=[IDEMPOTENCY_KEY])
@in_project(post="manage")
@idempotent()
def revoke(request: Request, project: Project, pk: str) -> Response:
    """Take an invitation back; its link stops working."""
    invitation = find(project.invitations.all(), pk, "invitation")
    invitations.revoke(invitation=invitation, by=request.user)
    invitation.refresh_from_db()
    return Response(InvitationOut(invitation).data)


@extend_schema(request=Accept, responses={200: MembershipOut} | refusals(400, 409, 410), parameters=[IDEMPOTENCY_KEY])
@allows(post="account")
@idempotent()
def accept(request: Request) -> Response:
    """Take up an invitation."""
    return Response(MembershipOut(invitations.accept(by=request.user, **Accept.read(request))).data)


@extend_schema(request=None, responses={200: MembershipOut} | refusals(403, 404))
@allows(post="account")
def join(request: Request, slug: str) -> Response:
    """Become an annotator of a project that is open to whoever signs up."""
    return Response(MembershipOut(invitations.join(slug=slug, by=request.user)).data)


@extend_schema(
    responses={200: AuditOut(many=True)} | refusals(403, 404),
    parameters=[
        OpenApiParameter("action", str, description="The action, such as member.role."),
        OpenApiParameter("who", str, description="The username of the person who did it."),
    ],
)
@newest_first
@in_project(get="manage")
def audit_trail(request: Request, project: Project) -> Response:
    """List who changed what, newest first, for managers."""
    query_params = request.query_params
    entries = audit.entries_of(project, action=query_params.get("action", ""), username=query_params.get("who", ""))
    pages = Newest()
    return pages.get_paginated_response(AuditOut(pages.paginate_queryset(entries, request), many=True).data)
