"""Define serializer fields that refuse unknown input, ids, choices that name themselves, the shape of errors."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema_field
from rest_framework import serializers
from rest_framework.fields import empty
from rest_framework.request import Request

LARGEST_ID = 2**63 - 1
IDEMPOTENCY_KEY = OpenApiParameter(
    "Idempotency-Key",
    OpenApiTypes.STR,
    OpenApiParameter.HEADER,
    description="At most 100 characters, such as a UUID. A repeated key returns the first response again for 30 days.",
)
PROJECT = OpenApiParameter("project", OpenApiTypes.STR, description="Only of the project with this slug.")


class Input(serializers.Serializer):
    """Read a request's body. Refuse a field that nobody reads: it is a mistake in the spelling or in the address."""

    @classmethod
    def read(cls, request: Request) -> dict[str, Any]:
        """Return the fields of a request's body. Raises ValidationError by field."""
        form = cls(data=request.data)
        form.is_valid(raise_exception=True)
        return dict(form.validated_data)

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, dict):
            unknown = sorted(str(name) for name in data.keys() - self._declared_fields.keys())
            if unknown:
                fields = ", ".join(self._declared_fields)
                raise serializers.ValidationError(
                    {name: f"is not a field of this request; the fields are {fields}." for name in unknown}
                )
        return super().to_internal_value(data)

    def get_fields(self) -> dict[str, serializers.Field]:
        """Return the fields without optional ones that were left out: making a field takes longer than reading it."""
        data = getattr(self, "initial_data", None)
        if type(data) is not dict:
            return super().get_fields()
        used_fields = (
            (name, field)
            for name, field in self._declared_fields.items()
            if name in data or field.required or field.default is not empty
        )
        return {name: copy.deepcopy(field) for name, field in used_fields}


class Id(serializers.IntegerField):
    """Read the id of a row."""

    def __init__(self, **options: Any) -> None:
        super().__init__(min_value=1, max_value=LARGEST_ID, **options)


class Choice(serializers.ChoiceField):
    """Refuse other values with the list of those that would be right."""

    def __init__(self, choices: Iterable[Any], **options: Any) -> None:
        choices = list(choices)
        names = ", ".join(str(value[0] if isinstance(value, tuple) else value) for value in choices)
        wrong = f'"{{input}}" is unknown; use one of {names}.'
        super().__init__(choices, error_messages={"invalid_choice": wrong}, **options)


@extend_schema_field(OpenApiTypes.BINARY)
class FileField(serializers.FileField):
    """Take a file, and say so in the schema: what is sent is no address."""


class Turn(Input):
    role = Choice(["system", "user", "assistant"])
    content = serializers.CharField(trim_whitespace=False, allow_blank=True)


class ErrorsOut(serializers.Serializer):
    errors = serializers.DictField(
        child=serializers.CharField(), help_text="For each wrong field: what is wrong and how to correct it."
    )


def refusals(*statuses: int) -> dict[int, OpenApiResponse]:
    """Return, for a schema, that these statuses come with errors by field."""
    return {status: OpenApiResponse(ErrorsOut, description=_MEANING[status]) for status in statuses}


_MEANING = {
    400: "A field is wrong: which one, and how to correct it.",
    403: "You may not do this; whom to ask.",
    404: "It does not exist, or you may not see it.",
    409: "It has changed meanwhile, or something else prevents this.",
    410: "It has expired.",
    413: "It is too large.",
    429: "Too many requests; when to come again.",
    503: "A server that this needs does not answer; nothing is lost, try again.",
    504: "A server that this needs took too long; ask for less, or try again.",
}
