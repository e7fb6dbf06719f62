from __future__ import annotations

import uuid

from django.db import models


class Battle(models.Model):
    """A blind comparison in the arena. Its public name is a random token, which tells nothing of the models."""

    token = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    project = models.ForeignKey("annotate.Project", models.PROTECT, related_name="battles")
    prompt = models.ForeignKey("annotate.Prompt", models.PROTECT, related_name="battles")
    model_a = models.ForeignKey("annotate.LanguageModel", models.PROTECT, related_name="battles_as_a")
    model_b = models.ForeignKey("annotate.LanguageModel", models.PROTECT, related_name="battles_as_b")
    completion_a = models.ForeignKey("annotate.Completion", models.PROTECT, null=True, blank=True, related_name="+")
    completion_b = models.ForeignKey("annotate.Completion", models.PROTECT, null=True, blank=True, related_name="+")
    user = models.ForeignKey("annotate.User", models.SET_NULL, null=True, blank=True, related_name="battles")
    visitor = models.CharField(max_length=64, blank=True)
    is_drawn = models.BooleanField(default=False, help_text="The prompt was drawn from the project, not asked.")
    hold_reason = models.CharField(max_length=200, blank=True, help_text="Known before the vote: a model named itself.")
    spoilt_reason = models.CharField(
        max_length=200, blank=True, help_text="Nobody can vote: one of the two answers failed."
    )
    vote_token_hash = models.CharField(max_length=64, blank=True, help_text="Of the token that one vote uses up.")
    begun_at = models.DateTimeField(null=True, blank=True, help_text="Since when a vote could be cast.")
    draft_a = models.TextField(blank=True, help_text="What is written of A's answer so far, for other processes.")
    draft_b = models.TextField(blank=True)
    stop_asked_at = models.DateTimeField(null=True, blank=True, help_text="The writer looks: both answers end here.")
    claim = models.UUIDField(null=True, blank=True, editable=False, help_text="Who writes the answers just now.")
    claimed_until = models.DateTimeField(null=True, blank=True, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        indexes = [models.Index(fields=["visitor", "created_at"])]

    def __str__(self) -> str:
        return f"battle {self.token}"

    @property
    def is_ready(self) -> bool:
        """Return both answers to the first question stand, so that there is something to judge."""
        return self.completion_a_id is not None and self.completion_b_id is not None and not self.spoilt_reason


class BattleTurn(models.Model):
    """A further question in a battle. Each side has a conversation of its own, and so a prompt of its own."""

    battle = models.ForeignKey(Battle, models.CASCADE, related_name="turns")
    number = models.PositiveSmallIntegerField(help_text="The first question is 1 and stands in the battle itself.")
    prompt_a = models.ForeignKey("annotate.Prompt", models.PROTECT, related_name="+")
    prompt_b = models.ForeignKey("annotate.Prompt", models.PROTECT, related_name="+")
    completion_a = models.ForeignKey("annotate.Completion", models.PROTECT, null=True, blank=True, related_name="+")
    completion_b = models.ForeignKey("annotate.Completion", models.PROTECT, null=True, blank=True, related_name="+")
    spoilt_reason = models.CharField(
        max_length=200, blank=True, help_text="One of the two answers failed: the turn is left out."
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["number"]
        constraints = [models.UniqueConstraint(fields=["battle", "number"], name="a_turn_comes_once_in_a_battle")]


class TryCount(models.Model):
    """Count how often something was tried since `since`, for all web processes; see `annotate.core.counting`."""

    key = models.CharField(max_length=160, unique=True)
    since = models.DateTimeField()
    tries = models.PositiveIntegerField(default=1)
