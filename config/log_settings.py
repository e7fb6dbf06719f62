"""Say how log lines look: for people at a terminal, or one object of JSON a line for whatever gathers them."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ImproperlyConfigured
from pythonjsonlogger.core import RESERVED_ATTRS

FORMATS = ("plain", "json")
_FILTERS = {"context": "AddContext", "address": "WithoutAddress"}
# They have handlers of their own.
_OF_SERVER = ("uvicorn", "uvicorn.error", "uvicorn.access", "django", "django.server")


def logging_settings(format_name: str, level: str) -> dict[str, Any]:
    """Return Django's LOGGING. Raises ImproperlyConfigured for another format."""
    if format_name not in FORMATS:
        raise ImproperlyConfigured(f"LOG_FORMAT={format_name} is unknown: choose one of {', '.join(FORMATS)}.")
    is_json = format_name == "json"
    handler = {
        "class": "logging.StreamHandler",
        "formatter": format_name,
        "filters": ["address", "context"] if is_json else ["context"],
    }
    ours: dict[str, Any] = {"httpx": {"level": "WARNING"}}  # else a line per answer
    if is_json:
        ours |= {name: {"handlers": [], "propagate": True} for name in _OF_SERVER}
    else:
        ours["assay.request"] = {"level": "WARNING"}  # a line per request is for programs
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "filters": {name: {"()": f"annotate.core.logs.context.{kind}"} for name, kind in _FILTERS.items()},
        "formatters": {
            "plain": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"},
            "json": {
                "()": "pythonjsonlogger.json.JsonFormatter",
                "fmt": "%(levelname)s %(name)s %(message)s",
                "rename_fields": {"levelname": "level", "name": "logger", "exc_info": "exception"},
                "timestamp": "time",
                "json_ensure_ascii": False,
                "reserved_attrs": [*RESERVED_ATTRS, "color_message"],  # uvicorn's
            },
        },
        "handlers": {"console": handler},
        "loggers": ours,
        "root": {"handlers": ["console"], "level": level},
    }
