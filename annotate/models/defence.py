"""Store what guards the arena's votes: where a vote came from, why it is held, and how usual holds are."""

from __future__ import annotations

from django.db import models
from django.utils import timezone


class Hold(models.TextChoices):
    """Name why a vote waits for a look. `annotate.arena.vote_guard.actions` has the words for whoever cast it."""

    NAMED = "named", "a model named itself"
    UNSOLVED = "unsolved", "the puzzle was not solved"
    PUZZLE_BROKEN = "puzzle_broken", "the puzzle could not be checked"
    BUSY_VISITOR = "busy_visitor", "many votes of one visitor in a short time"
    BUSY_ADDRESS = "busy_address", "many votes from one address in a short time"
    REPEAT = "repeat", "the same question and models again"
    SAME_ITEM = "same_item", "one question and pair of models again and again"
    TOLD = "told", "an answer whose author had been told to a visitor before"
    FLOOD = "flood", "more votes at once than nearly any before"
    PATTERN = "pattern", "a voter unlike all others"
    ADDRESS_PATTERN = "address_pattern", "an address unlike all others"
    ALIKE = "alike", "visitors of one day, or as busy as each other, unlike all others on one model"


class VoteTraceQuerySet(models.QuerySet["VoteTrace"]):
    def of_people(self) -> VoteTraceQuerySet:
        """Leave out simulations: thousands of theirs would hide a jump."""
        return self.exclude(battle__user__is_simulated=True)


class VoteTrace(models.Model):
    """Keep where a vote came from. The address is a keyed hash, and is blanked after `VOTE_ADDRESS_DAYS`; beside it
    only counts of tries have it, for two days. Empty for members and simulations.

    `held_for` is the last reason for which the software held the vote, and stays when the vote is released: whether it
    is held now, its status says.
    """

    battle = models.OneToOneField("annotate.Battle", models.CASCADE, related_name="trace")
    project = models.ForeignKey("annotate.Project", models.CASCADE, related_name="vote_traces")
    address = models.CharField(max_length=32, blank=True)
    held_for = models.CharField(max_length=16, choices=Hold.choices, blank=True)
    held_at = models.DateTimeField(null=True, blank=True)
    cast_at = models.DateTimeField(default=timezone.now)

    objects = VoteTraceQuerySet.as_manager()

    class Meta:
        indexes = [
            models.Index(fields=["project", "cast_at"], name="traces_by_time"),
            models.Index(fields=["address", "cast_at"], name="traces_by_address"),
        ]


class HeldWatch(models.Model):
    """Say how far the watch over held votes of a project has come, and the evidence that they have jumped."""

    project = models.OneToOneField("annotate.Project", models.CASCADE, related_name="held_watch")
    last_trace_id = models.BigIntegerField(default=0)
    evidence = models.JSONField(
        default=list, help_text="One number for each alternative; see evaluation.vote_integrity.rate_change."
    )
    usual = models.FloatField(default=0.0, help_text="The share above which holds would be unusual.")
    told_at = models.DateTimeField(null=True, blank=True, help_text="When managers were last warned of a jump.")
    broken_told_at = models.DateTimeField(null=True, blank=True, help_text="And of a puzzle that cannot be given.")
    looked_state = models.CharField(max_length=64, blank=True, help_text="Of the votes that were last looked at.")
