"""Store which processes live, for whoever watches the installation."""

from __future__ import annotations

from django.db import models


class ProcessHeartbeat(models.Model):
    """Keep when a worker or a background worker last said that it lives, by the database's clock."""

    class Kind(models.TextChoices):
        WORKER = "worker"
        BACKGROUND = "background"

    name = models.CharField(max_length=120, unique=True)
    kind = models.CharField(max_length=10, choices=Kind.choices)
    beat_at = models.DateTimeField()

    def __str__(self) -> str:
        return self.name
