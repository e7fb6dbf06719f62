"""Store which prompts a manager has given to which people."""

from __future__ import annotations

from collections import defaultdict

from django.db import models

from annotate.models.queue import QueueChange


class WorkPackage(models.Model):
    """Prompts that a manager has given to named people, until a day or until they are taken back."""

    project = models.ForeignKey("annotate.Project", models.CASCADE, related_name="work_packages")
    name = models.CharField(max_length=80)
    is_exclusive = models.BooleanField(default=True, help_text="Nobody else is asked about its prompts meanwhile.")
    until = models.DateTimeField(null=True, blank=True)
    created_by = models.ForeignKey("annotate.User", models.SET_NULL, null=True, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-id"]
        indexes = [models.Index(fields=["ended_at", "until"], name="packages_that_run_out")]

    def __str__(self) -> str:
        return self.name


class Reservations(models.QuerySet["ReservedPrompt"]):
    def open(self) -> Reservations:
        return self.filter(state=ReservedPrompt.State.OPEN)

    def left(self) -> Reservations:
        """Return what is still to be done; a prompt that was taken out of the work is not."""
        return self.open().filter(prompt__out_since=None)

    def exclusive(self) -> Reservations:
        """Return the open rows whose prompts others are not asked about."""
        return self.open().filter(is_exclusive=True)

    def close(self, state: str) -> int:
        """Move open rows to `state`; return how many. Their prompts go back to whom the queue chooses."""
        rows = list(self.open().order_by().values_list("pk", "project_id", "prompt_id", "is_exclusive"))
        by_project: dict[int, set[int]] = defaultdict(set)
        n = 0
        for start in range(0, len(rows), 500):  # SQLite bounds the variables of a statement
            part = rows[start : start + 500]
            n += ReservedPrompt.objects.open().filter(pk__in=[row[0] for row in part]).update(state=state)
        for _, project, prompt, is_exclusive in rows:
            if is_exclusive:
                by_project[project].add(prompt)
        for project, prompts in by_project.items():
            QueueChange.note(project, prompts)
        return n


class ReservedPrompt(models.Model):
    """A prompt of a package, for one person: all its items are theirs to annotate."""

    class State(models.TextChoices):
        OPEN = "open"
        DONE = "done"
        RELEASED = "released"  # taken back, run out, or its person left

    package = models.ForeignKey(WorkPackage, models.CASCADE, related_name="reserved")
    project = models.ForeignKey("annotate.Project", models.CASCADE, related_name="+", db_index=False)
    user = models.ForeignKey("annotate.User", models.CASCADE, related_name="reserved_prompts", db_index=False)
    prompt = models.ForeignKey("annotate.Prompt", models.CASCADE, related_name="reserved")
    is_exclusive = models.BooleanField(help_text="As its package has it.")
    state = models.CharField(max_length=8, choices=State.choices, default=State.OPEN)

    objects = Reservations.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["user", "prompt"],
                condition=models.Q(state="open"),
                name="nobody_is_given_a_prompt_twice",
            )
        ]
        indexes = [
            # Both are asked each time an item is handed out.
            models.Index(fields=["project", "state"], name="reserved_in_a_project"),
            models.Index(fields=["user", "state", "project"], name="reserved_for_a_person"),
        ]

    def __str__(self) -> str:
        return f"prompt {self.prompt_id} for {self.user}"
