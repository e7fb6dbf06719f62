from __future__ import annotations

import hashlib

from django.db import models
from django.utils import timezone


def token_hash(token: str) -> str:
    """Return the sha256 of a token as hex: what is kept of it."""
    return hashlib.sha256(token.encode()).hexdigest()


class ApiToken(models.Model):
    """Let a program act as a person, within a scope and for a while. Only the hash of its secret is kept."""

    class Scope(models.TextChoices):
        READ = "read", "Read"
        JUDGE = "judge", "Judge"
        RESEARCH = "research", "Research"
        MANAGE = "manage", "Everything"

    user = models.ForeignKey("annotate.User", models.CASCADE, related_name="api_tokens")
    name = models.CharField(max_length=60)
    scope = models.CharField(max_length=10, choices=Scope.choices)
    prefix = models.CharField(max_length=12, help_text="How it begins, so that its owner knows it again.")
    secret_hash = models.CharField(max_length=64, unique=True)
    created_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField()
    last_used_at = models.DateTimeField(null=True, blank=True, help_text="To the hour.")
    revoked_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"

    @property
    def is_live(self) -> bool:
        return self.revoked_at is None and self.expires_at > timezone.now()
