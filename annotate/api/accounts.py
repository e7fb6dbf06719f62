"""Signing in: a name and a password for a token."""

from __future__ import annotations

import hashlib

from django.contrib.auth import authenticate
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.authtoken.models import Token
from rest_framework.decorators import api_view, authentication_classes, permission_classes, throttle_classes
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.throttling import SimpleRateThrottle

from annotate.api.fields import Input, refusals
from annotate.errors import Refused


class SignInThrottle(SimpleRateThrottle):
    """Against guessing: so many tries a minute for one name from one address."""

    rate = "20/minute"
    scope = "sign-in"

    def get_cache_key(self, request: Request, view: object) -> str:
        name = request.data.get("username", "") if isinstance(request.data, dict) else ""
        return f"throttle:sign-in:{self.get_ident(request)}:{hashlib.sha256(str(name).encode()).hexdigest()}"


class SignIn(Input):
    username = serializers.CharField(max_length=150)
    password = serializers.CharField(max_length=4096, trim_whitespace=False)


class TokenOut(serializers.Serializer):
    token = serializers.CharField(help_text="Send it as `Authorization: Token …`.")


@extend_schema(request=SignIn, responses={200: TokenOut} | refusals(400, 429), auth=[], tags=["auth"])
@api_view(["POST"])
@authentication_classes([])
@permission_classes([AllowAny])
@throttle_classes([SignInThrottle])
def token(request: Request) -> Response:
    """A token for a username and a password; the same one every time."""
    given = SignIn(data=request.data)
    given.is_valid(raise_exception=True)
    user = authenticate(request._request, **given.validated_data)
    if user is None:
        raise Refused(400, password="This username and this password do not belong together; check both.")
    made, _ = Token.objects.get_or_create(user=user)
    return Response({"token": made.key})
