"""Lead back to a form that was begun and lacked a dataset."""

from __future__ import annotations

from django.utils.http import url_has_allowed_host_and_scheme

from annotate.models import Dataset


def form_with(dataset: Dataset, begun: str) -> str:
    """Return the address of the form that was begun, with the dataset that it lacked; "" where it is none of ours."""
    if not begun.startswith("/") or not url_has_allowed_host_and_scheme(begun, allowed_hosts=None):
        return ""
    return f"{begun}{'&' if '?' in begun else '?'}dataset={dataset.pk}"
