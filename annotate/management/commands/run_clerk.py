"""Answer to the old name of `manage.py run_background_worker`, for one version."""

from __future__ import annotations

from annotate.management.commands.run_background_worker import Command

__all__ = ["Command"]
