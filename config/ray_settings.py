"""Settings of a Ray cluster that carries out runs; docs/guides/cluster.md says what they are for."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from django.core.exceptions import ImproperlyConfigured


def json_object(variable: str, environment: Mapping[str, str] = os.environ) -> dict[str, Any]:
    """Return the object that a variable holds; {} where it is not set."""
    try:
        value = json.loads(environment.get(variable) or "{}")
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise ImproperlyConfigured(f'{variable} is to be an object of JSON, such as {{"working_dir": "…"}}.')
    return value


def resources(environment: Mapping[str, str] = os.environ) -> dict[str, float]:
    """Return the custom resources that RAY_RESOURCES names."""
    values = json_object("RAY_RESOURCES", environment)
    if not all(isinstance(value, int | float) and value > 0 for value in values.values()):
        raise ImproperlyConfigured('RAY_RESOURCES must have numbers above 0, such as {"training": 1}.')
    return {name: float(value) for name, value in values.items()}


def token(environment: Mapping[str, str] = os.environ) -> str:
    """Return what the cluster asks for, where it asks for a token."""
    if environment.get("RAY_AUTH_MODE", "").lower() != "token":
        return ""
    path = environment.get("RAY_AUTH_TOKEN_PATH", "")
    value = environment.get("RAY_AUTH_TOKEN", "").strip()
    if not value and path and Path(path).is_file():
        value = Path(path).read_text(encoding="utf-8").strip()
    if not value:
        raise ImproperlyConfigured("RAY_AUTH_MODE is token: set RAY_AUTH_TOKEN, or RAY_AUTH_TOKEN_PATH to its file.")
    return value


RAY_ADDRESS = os.environ.get("RAY_ADDRESS", "").rstrip("/")
RAY_AUTH_TOKEN = token() if RAY_ADDRESS else ""
RAY_DASHBOARD_URL = os.environ.get("RAY_DASHBOARD_URL", RAY_ADDRESS).rstrip("/")
RAY_RUNTIME_ENV = json_object("RAY_RUNTIME_ENV")
RAY_CHECKOUT = os.environ.get("RAY_CHECKOUT", "")
RAY_PYTHON = os.environ.get("RAY_PYTHON", "")
RAY_CPUS_PER_PROCESS = float(os.environ.get("RAY_CPUS_PER_PROCESS", "1"))
RAY_GPUS_PER_PROCESS = float(os.environ["RAY_GPUS_PER_PROCESS"]) if os.environ.get("RAY_GPUS_PER_PROCESS") else None
RAY_MEMORY_FACTOR = float(os.environ.get("RAY_MEMORY_FACTOR", "1"))
RAY_RESOURCES = resources()
RAY_NODE_WAIT_SECONDS = float(os.environ.get("RAY_NODE_WAIT_SECONDS", "120"))
RAY_WAITING_RUNS = max(1, int(os.environ.get("RAY_WAITING_RUNS", "1")))
