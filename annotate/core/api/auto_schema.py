"""Describe what drf-spectacular does not guess: lists in pages are read, never sent; rows are whole; one or many are
either."""

from __future__ import annotations

from typing import Any

from drf_spectacular.openapi import AutoSchema
from drf_spectacular.utils import PolymorphicProxySerializer
from rest_framework import serializers


class OperationSchema(AutoSchema):
    """Describe one operation. Only what is read comes in pages."""

    def _get_paginator(self) -> Any:
        return super()._get_paginator() if self.method == "GET" else None

    def _map_basic_serializer(self, serializer: Any, direction: str) -> Any:
        """Say that each field of a row is always there. Rows of the database are read, never sent."""
        schema = super()._map_basic_serializer(serializer, direction)
        if direction == "response" and isinstance(serializer, serializers.ModelSerializer):
            schema["required"] = sorted(schema["properties"])
        return schema


def one_or_many(row: type[serializers.Serializer]) -> PolymorphicProxySerializer:
    """Return, for a schema, that this is one row or a list of them: what `read_one_or_many` takes and what it answers
    with."""
    return PolymorphicProxySerializer(
        f"{row.__name__}OneOrMany", serializers=[row, row(many=True)], resource_type_field_name=None, many=False
    )
