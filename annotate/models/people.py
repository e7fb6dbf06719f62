from __future__ import annotations

from django.contrib.auth.models import AbstractUser
from django.db import models


class User(AbstractUser):
    """Whoever signs in. A simulated annotator says so here, and every row of theirs copies it."""

    is_simulated = models.BooleanField(default=False)


class Role(models.TextChoices):
    ANNOTATOR = "annotator"
    REVIEWER = "reviewer"
    RESEARCHER = "researcher"
    MANAGER = "manager"


class Membership(models.Model):
    """What a person may do in a project."""

    project = models.ForeignKey("annotate.Project", models.CASCADE, related_name="memberships")
    user = models.ForeignKey("annotate.User", models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=16, choices=Role.choices, default=Role.ANNOTATOR)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["project", "user"], name="one_membership_per_person")]

    def __str__(self) -> str:
        return f"{self.user} as {self.role} in {self.project}"
