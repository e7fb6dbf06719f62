"""My API tokens, as the page for them has them."""

from __future__ import annotations

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from annotate.core.api.api_access import allows
from annotate.core.api.lookup import find
from annotate.core.api.serializer_fields import Choice, Input, refusals
from annotate.core.errors import Refused
from annotate.models import ApiToken
from annotate.projects.accounts import actions


class NewToken(Input):
    name = serializers.CharField(max_length=60, help_text="For example the program or machine that uses it.")
    scope = Choice(ApiToken.Scope.choices, help_text="Each scope includes the scopes before it.")
    days = serializers.IntegerField(
        min_value=1,
        max_value=actions.MOST_DAYS,
        required=False,
        default=actions.DAYS,
        help_text="Days until it expires.",
    )


class ApiTokenOut(serializers.ModelSerializer):
    class Meta:
        model = ApiToken
        fields = ("id", "name", "scope", "prefix", "created_at", "expires_at", "last_used_at", "revoked_at")


class TokenMade(ApiTokenOut):
    token = serializers.CharField(help_text="Send it as `Authorization: Token …`. Shown only now.")

    class Meta(ApiTokenOut.Meta):
        fields = (*ApiTokenOut.Meta.fields, "token")  # type: ignore[assignment]


class RenewedToken(serializers.Serializer):
    token = serializers.CharField()


@extend_schema(methods=["GET"], responses={200: ApiTokenOut(many=True)})
@extend_schema(methods=["POST"], request=NewToken, responses={201: TokenMade} | refusals(400, 403, 409))
@allows(get="account", post="account")
def my_tokens(request: Request) -> Response:
    """List my tokens that work; POST makes another. Its secret is shown this once."""
    if request.method == "GET":
        return Response(ApiTokenOut(actions.live_of(request.user), many=True).data)
    token, secret = actions.make(user=request.user, **NewToken.read(request))
    return Response({**ApiTokenOut(token).data, "token": secret}, status=201)


@extend_schema(responses={204: None} | refusals(403, 404, 409))
@allows(delete="mine")
def my_token(request: Request, pk: str) -> Response:
    """Revoke a token of mine: it stops working at once."""
    actions.require_to_make(request.user)
    actions.revoke(token=find(ApiToken.objects.filter(user=request.user), pk, "token"), by=request.user)
    return Response(status=204)


@extend_schema(request=None, responses={200: RenewedToken} | refusals(400))
@allows(post="account")
def renew_token(request: Request) -> Response:
    """Make a new token of the same name, scope and lifetime; the one that this was asked with stops working."""
    if not isinstance(request.auth, ApiToken):
        raise Refused(400, token="This renews the token of the request; use POST auth/tokens/ to create one.")
    return Response({"token": actions.renew(token=request.auth)})
