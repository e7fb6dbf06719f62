"""Signing in: a name and a password for a token."""

from __future__ import annotations

from allauth.mfa.utils import is_mfa_enabled
from django.contrib.auth import authenticate
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.decorators import authentication_classes
from rest_framework.request import Request
from rest_framework.response import Response

from annotate.core.api.api_access import allows
from annotate.core.api.serializer_fields import Input, refusals
from annotate.core.errors import Refused
from annotate.core.visitors import address_of, wider_of
from annotate.projects.accounts import actions as tokens
from annotate.projects.accounts.adapter import (
    is_second_factor_right,
    note_sign_in,
    passwords_sign_in,
    require_patience,
    was_right,
)


class SignIn(Input):
    username = serializers.CharField(max_length=150)
    password = serializers.CharField(max_length=4096, trim_whitespace=False)
    code = serializers.CharField(
        max_length=40,
        required=False,
        allow_blank=True,
        default="",
        help_text="The code of the second factor, if the account has one.",
    )


class TokenOut(serializers.Serializer):
    token = serializers.CharField(help_text="Send it as `Authorization: Token …`.")


@extend_schema(request=SignIn, responses={200: TokenOut} | refusals(400, 403, 429), auth=[])
@allows(post="anybody")
@authentication_classes([])
def token(request: Request) -> Response:
    """Make a new token for a username and a password, of full scope, for 90 days. The newest twenty of these work.

    POST auth/tokens/ makes one with a name, a narrower scope and another lifetime.
    """
    fields = SignIn.read(request)
    code = fields.pop("code")
    if not passwords_sign_in():
        text = "Passwords do not sign in here; create a token under Your account → API tokens."
        raise Refused(403, password=text)
    credentials = {"name": fields["username"], "address": address_of(request._request)}
    require_patience(**credentials, wider=wider_of(request._request))
    user = authenticate(request._request, **fields)
    if user is None:
        raise Refused(400, password="The username or the password is wrong; check both.")
    was_right(**credentials)
    if is_mfa_enabled(user) and not is_second_factor_right(user, code):
        raise Refused(400, code="Enter the code that the app shows now, or an unused recovery code.")
    note_sign_in(user=user, means="program")
    return Response({"token": tokens.sign_in(user)})
