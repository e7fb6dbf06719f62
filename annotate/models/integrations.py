"""Store imports from other tools, and webhooks with their deliveries."""

from __future__ import annotations

import uuid

from django.db import models


class Import(models.Model):
    """A file on its way in. Each chunk of rows and the place reached are written together, so that it can be gone on
    with after any accident and no row comes twice."""

    class State(models.TextChoices):
        CHECKED = "checked"  # a dry run: what it would do is known, nothing was written
        QUEUED = "queued"
        RUNNING = "running"
        DONE = "done"
        FAILED = "failed"
        CANCELLED = "cancelled"

    project = models.ForeignKey("annotate.Project", models.CASCADE, related_name="imports")
    created_by = models.ForeignKey("annotate.User", models.PROTECT, related_name="+")
    format = models.CharField(max_length=40)
    source = models.CharField(max_length=60)
    file_name = models.CharField(max_length=200)
    file_hash = models.CharField(max_length=64)
    bytes = models.BigIntegerField()
    options = models.JSONField(default=dict)
    state = models.CharField(max_length=10, choices=State.choices, default=State.QUEUED)
    lines = models.BigIntegerField(default=0, help_text="Read and written so far.")
    position = models.BigIntegerField(default=0, help_text="Bytes of the file read so far, for the progress.")
    counts = models.JSONField(default=dict, help_text="What was added, by kind; what stood already; what was wrong.")
    rate = models.FloatField(default=0, help_text="Rows a second, of late.")
    problem = models.TextField(blank=True)
    claim = models.UUIDField(null=True, blank=True, editable=False)
    claimed_until = models.DateTimeField(null=True, blank=True, editable=False)
    cancel_asked = models.BooleanField(default=False)
    created_at = models.DateTimeField(auto_now_add=True)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"import of {self.file_name}"


class ImportProblem(models.Model):
    """A line that could not be used, and why."""

    of = models.ForeignKey(Import, models.CASCADE, related_name="problems")
    line = models.BigIntegerField()
    reason = models.CharField(max_length=400)

    class Meta:
        ordering = ["line", "id"]


class Webhook(models.Model):
    """An address that is told of what happens in a project, signed as Standard Webhooks says."""

    project = models.ForeignKey("annotate.Project", models.CASCADE, related_name="webhooks")
    url = models.URLField(max_length=500)
    secret = models.CharField(max_length=100, help_text="whsec_ and base64.")
    events = models.JSONField(default=list, help_text="Types of events; empty for all.")
    is_active = models.BooleanField(default=True)
    switched_off_reason = models.CharField(max_length=200, blank=True)
    old_secret = models.CharField(max_length=100, blank=True, help_text="Signs too, until its day is over.")
    old_secret_until = models.DateTimeField(null=True, blank=True)
    failing_since = models.DateTimeField(null=True, blank=True, help_text="The first failure after the last success.")
    created_by = models.ForeignKey("annotate.User", models.SET_NULL, null=True, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return self.url


class Delivery(models.Model):
    """One event on its way to one address, and how each try ended."""

    class State(models.TextChoices):
        WAITING = "waiting"
        DELIVERED = "delivered"
        GIVEN_UP = "given_up"

    webhook = models.ForeignKey(Webhook, models.CASCADE, related_name="deliveries")
    message_id = models.UUIDField(default=uuid.uuid4, editable=False)
    event = models.CharField(max_length=60)
    body = models.JSONField()
    state = models.CharField(max_length=10, choices=State.choices, default=State.WAITING)
    tries = models.PositiveSmallIntegerField(default=0)
    next_try_at = models.DateTimeField(null=True, blank=True)
    claimed_until = models.DateTimeField(null=True, blank=True, editable=False)
    log = models.JSONField(default=list, help_text="[{at, status, seconds, said}] of each try.")
    created_at = models.DateTimeField(auto_now_add=True)
    delivered_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-id"]
        indexes = [models.Index(fields=["state", "next_try_at"])]
