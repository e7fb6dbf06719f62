"""Make the endpoint that a recipe asks of what the worker wrote of its model."""

from __future__ import annotations

from annotate.core.chat_api.asking import Endpoint
from training.core.run_directory import Row


def endpoint_of(settings: Row, key: str, timeout: float) -> Endpoint:
    """Return where to ask, of what `preparation` wrote of the model."""
    return Endpoint(
        url=settings["url"],
        model=settings["model"],
        key=key,
        template_options=settings.get("template_options") or {},
        request_fields=settings.get("request_fields") or {},
        concurrency=settings.get("concurrency") or 1,
        timeout=timeout,
        allowed=tuple(settings.get("allowed") or ()),
    )
