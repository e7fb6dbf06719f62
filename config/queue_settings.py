"""Settings of the queue of runs; docs/guides/operating.md says what they are for."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping

from django.core.exceptions import ImproperlyConfigured


def limit(variable: str, environment: Mapping[str, str] = os.environ) -> float | None:
    """Return the number above 0 that the variable holds; None, for no limit, where it is not set or 0."""
    try:
        value = float(environment.get(variable) or 0)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise ImproperlyConfigured(f"{variable} is to be a number above 0; leave it out for no limit.")
    return value or None


RUN_AGEING_HOURS = float(os.environ.get("RUN_AGEING_HOURS", "24"))
QUOTA_RUNS = limit("ASSAY_QUOTA_RUNS")
QUOTA_GPU_HOURS = limit("ASSAY_QUOTA_GPU_HOURS")
QUOTA_DISK_GB = limit("ASSAY_QUOTA_DISK_GB")
