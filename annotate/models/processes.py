"""Store which processes live, for whoever watches the installation, and how far their long work is."""

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


class LongWork(models.Model):
    """A row with work of minutes: claimed under a lease, with what is being done and which share of it is done."""

    claim = models.UUIDField(null=True, blank=True, editable=False)
    claimed_until = models.DateTimeField(null=True, blank=True, editable=False)
    stage = models.CharField(max_length=60, blank=True, help_text="What is being done.")
    share = models.FloatField(default=0, help_text="Of the work that is done, 0 to 1.")

    class Meta:
        abstract = True

    @property
    def percent(self) -> int:
        return min(100, int(100 * self.share))
