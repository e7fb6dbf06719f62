"""Webhooks of a project, their deliveries and secrets, for its managers' programs."""

from __future__ import annotations

from typing import Any, ClassVar

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from annotate.core.api.api_access import DeclaredViewSet
from annotate.core.api.idempotency import idempotent
from annotate.core.api.lookup import find, find_project, of_project
from annotate.core.api.pagination import Newest
from annotate.core.api.serializer_fields import IDEMPOTENCY_KEY, PROJECT, Choice, Id, Input, refusals
from annotate.core.events import EVENTS
from annotate.core.permissions import projects_where
from annotate.models import Delivery, Webhook
from annotate.projects.webhooks import actions as webhooks


class WebhookChange(Input):
    url = serializers.CharField(required=False, max_length=500)
    events = serializers.ListField(child=Choice(EVENTS), required=False, help_text="Empty for all.")
    is_active = serializers.BooleanField(required=False)


class NewWebhook(Input):
    project = serializers.SlugField(max_length=50)
    url = serializers.CharField(max_length=500)
    events = serializers.ListField(child=Choice(EVENTS), required=False, help_text="Empty for all.")


class WebhookOut(serializers.ModelSerializer):
    project = serializers.SlugField(source="project.slug")
    events = serializers.ListField(child=serializers.CharField(), help_text="Empty for all.")

    class Meta:
        model = Webhook
        fields = (
            *("id", "project", "url", "events", "is_active", "switched_off_reason", "failing_since"),
            *("secret", "old_secret_until", "created_at"),
        )


class TryOut(serializers.Serializer):
    at = serializers.DateTimeField()
    status = serializers.IntegerField(
        allow_null=True, help_text="HTTP status of the response; null without a response."
    )
    seconds = serializers.FloatField()
    said = serializers.CharField()


class SendAgain(Input):
    delivery = Id()


class DeliveryOut(serializers.ModelSerializer):
    log = TryOut(many=True)

    class Meta:
        model = Delivery
        fields = ("id", "event", "body", "state", "tries", "next_try_at", "log", "created_at", "delivered_at")


def _secret_again(request: Request, body: dict[str, Any]) -> str:
    """Return the secret for whoever still manages the project; nothing when the webhook is gone."""
    webhooks = Webhook.objects.filter(project__in=projects_where(request.user, "manage"), pk=body["id"])
    return webhooks.values_list("secret", flat=True).first() or ""


class Webhooks(DeclaredViewSet):
    """Read, create and change webhooks of the projects that you manage."""

    rights: ClassVar = {
        "list": "account",
        "create": "manage",
        "retrieve": "manage",
        "partial_update": "manage",
        "destroy": "manage",
        "rotate_secret": "manage",
        "test": "manage",
        "deliveries": "manage",
        "send_again": "manage",
    }

    queryset = Webhook.objects.none()
    serializer_class = WebhookOut
    pagination_class = Newest

    def get_queryset(self) -> QuerySet[Webhook]:
        return Webhook.objects.filter(project__in=projects_where(self.request.user, "manage")).select_related("project")

    @extend_schema(responses=WebhookOut(many=True), parameters=[PROJECT])
    def list(self, request: Request) -> Response:
        rows = of_project(self.get_queryset(), request)
        return self.get_paginated_response(WebhookOut(self.paginate_queryset(rows), many=True).data)

    @extend_schema(
        request=NewWebhook, responses={201: WebhookOut} | refusals(400, 403, 404, 409), parameters=[IDEMPOTENCY_KEY]
    )
    @idempotent(atomic=False, secrets={"secret": _secret_again})
    def create(self, request: Request) -> Response:
        """Tell an address of events. `secret` signs them (Standard Webhooks)."""
        fields = NewWebhook.read(request)
        project = find_project(request.user, fields.pop("project"))
        return Response(WebhookOut(webhooks.add_webhook(project=project, by=request.user, **fields)).data, status=201)

    @extend_schema(responses={200: WebhookOut} | refusals(404))
    def retrieve(self, request: Request, pk: str) -> Response:
        return Response(WebhookOut(self._one(pk)).data)

    @extend_schema(request=WebhookChange, responses={200: WebhookOut} | refusals(400, 403, 404, 409))
    def partial_update(self, request: Request, pk: str) -> Response:
        """Change a webhook. What is left out stays. Switched on again, it gets what has waited meanwhile."""
        fields = WebhookChange.read(request)
        return Response(WebhookOut(webhooks.change_webhook(self._one(pk), by=request.user, **fields)).data)

    @extend_schema(responses={204: None} | refusals(403, 404))
    def destroy(self, request: Request, pk: str) -> Response:
        webhooks.remove_webhook(self._one(pk), by=request.user)
        return Response(status=204)

    @extend_schema(request=None, responses={200: WebhookOut} | refusals(403, 404, 409))
    @action(detail=True, methods=["post"], url_path="rotate-secret")
    def rotate_secret(self, request: Request, pk: str) -> Response:
        """Make a new secret; for a day the old one signs too, and no newer one is made."""
        return Response(WebhookOut(webhooks.rotate_secret(self._one(pk), by=request.user)).data)

    @extend_schema(request=None, responses={201: DeliveryOut} | refusals(403, 404, 409))
    @action(detail=True, methods=["post"])
    def test(self, request: Request, pk: str) -> Response:
        """Send an event of the type webhook.test."""
        return Response(DeliveryOut(webhooks.send_test(self._one(pk), by=request.user)).data, status=201)

    @extend_schema(responses=DeliveryOut(many=True))
    @action(detail=True, methods=["get"])
    def deliveries(self, request: Request, pk: str) -> Response:
        """List each event on its way to this address, and how each try ended."""
        rows = self._one(pk).deliveries.all()
        return self.get_paginated_response(DeliveryOut(self.paginate_queryset(rows), many=True).data)

    @extend_schema(
        request=SendAgain, responses={200: DeliveryOut} | refusals(400, 403, 404, 409), parameters=[IDEMPOTENCY_KEY]
    )
    @action(detail=True, methods=["post"], url_path="send-again")
    @idempotent()
    def send_again(self, request: Request, pk: str) -> Response:
        """Send the same event under the same id, at once."""
        hook = self._one(pk)
        delivery = find(hook.deliveries.all(), SendAgain.read(request)["delivery"], "delivery")
        return Response(DeliveryOut(webhooks.send_again(delivery, by=request.user)).data)

    def _one(self, pk: str) -> Webhook:
        return find(self.get_queryset(), pk, "webhook")
