from __future__ import annotations

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models


class Project(models.Model):
    """A body of prompts, the people who judge answers to them, and the models that compete."""

    slug = models.SlugField(unique=True)
    name = models.CharField(max_length=120)
    description = models.TextField(blank=True)
    members = models.ManyToManyField("annotate.User", through="annotate.Membership", related_name="projects")
    is_public = models.BooleanField(default=True, help_text="Visitors without an account may vote in its arena.")
    asks_ratings = models.BooleanField(default=True)
    asks_comparisons = models.BooleanField(default=True)
    overlap = models.PositiveSmallIntegerField(
        default=1, validators=[MinValueValidator(1)], help_text="How many people judge the same item."
    )
    assignment_minutes = models.PositiveSmallIntegerField(default=30, validators=[MinValueValidator(1)])
    daily_goal = models.PositiveSmallIntegerField(default=60)
    eval_percent = models.PositiveSmallIntegerField(
        default=25,
        validators=[MaxValueValidator(90)],
        help_text="Share of prompts kept for ranking; they train nothing.",
    )
    created_by = models.ForeignKey("annotate.User", models.SET_NULL, null=True, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return self.name

    @property
    def guideline(self) -> Guideline | None:
        return self.guidelines.order_by("-version").first()


class Guideline(models.Model):
    """One version of a project's guidelines. Feedback remembers the version that its judge had read."""

    project = models.ForeignKey(Project, models.CASCADE, related_name="guidelines")
    version = models.PositiveIntegerField()
    text = models.TextField(help_text="Markdown.")
    created_by = models.ForeignKey("annotate.User", models.SET_NULL, null=True, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["project", "version"], name="one_guideline_per_version")]

    def __str__(self) -> str:
        return f"{self.project} guidelines v{self.version}"
