from __future__ import annotations

from django.db import models


class FirstAnswer(models.Model):
    """Hold what the API answered to a request with an Idempotency-Key, so that its repetition gets the same again."""

    who = models.CharField(max_length=80, help_text="user:7 or visitor:<hash>: a key is its sender's own.")
    key = models.CharField(max_length=100)
    request_hash = models.CharField(max_length=64, help_text="Of method, address and body.")
    status = models.PositiveSmallIntegerField(default=0)
    body = models.JSONField(null=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["who", "key"], name="a_key_has_one_first_answer")]

    def __str__(self) -> str:
        return f"{self.key} of {self.who}"
