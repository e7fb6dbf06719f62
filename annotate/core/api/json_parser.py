"""Read JSON bodies: bounded in size, with an error for every kind of malformed body."""

from __future__ import annotations

import codecs
import json
import math
from typing import Any

from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from rest_framework.exceptions import ParseError
from rest_framework.parsers import JSONParser, get_encoding


class BoundedJSONParser(JSONParser):
    """Raises ParseError for what is not JSON and RequestDataTooBig beyond DATA_UPLOAD_MAX_MEMORY_SIZE."""

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> Any:
        length = stream.META.get("CONTENT_LENGTH") if hasattr(stream, "META") else None
        if length and int(length) > settings.DATA_UPLOAD_MAX_MEMORY_SIZE:
            raise RequestDataTooBig
        encoding = get_encoding(parser_context or {})
        try:
            return json.load(codecs.getreader(encoding)(stream), parse_constant=_no_constant, parse_float=_finite)
        except ValueError as error:
            raise ParseError(f"JSON parse error - {error}") from error
        except RecursionError as error:
            raise ParseError("It is nested too deeply.") from error


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON")


def _finite(text: str) -> float:
    """Return the number. Raises ValueError for 1e999: it would be infinite, which neither JSON nor a database has."""
    if math.isinf(number := float(text)):
        raise ValueError(f"{text[:40]} is out of range")
    return number
