"""Store what needs somebody in a project, and which people were told of it."""

from __future__ import annotations

from django.db import models


class Alerts(models.QuerySet["Alert"]):
    def opened(self) -> Alerts:
        """Return those that people were told of, over or not."""
        return self.filter(opened_at__isnull=False)

    def open(self) -> Alerts:
        """Return those that people were told of, whose cause lasts, and that nobody has dismissed."""
        return self.opened().filter(closed_at=None, dismissed_at=None)


class Alert(models.Model):
    """A cause for alarm as long as it lasts: one row for each cause, so that it is told once. See
    `evaluation.alerts`."""

    project = models.ForeignKey("annotate.Project", models.CASCADE, related_name="alerts")
    kind = models.CharField(max_length=40, help_text="A key of evaluation.alerts.alert_kinds.")
    about = models.CharField(max_length=200, help_text="Tells it from others of its kind in the project.")
    text = models.CharField(max_length=300)
    signs = models.JSONField(
        null=True, blank=True, help_text="What is wrong, without numbers; of a dismissed one as it was then."
    )
    url = models.CharField(max_length=200)
    created_at = models.DateTimeField(auto_now_add=True, help_text="When the cause was first seen.")
    opened_at = models.DateTimeField(null=True, blank=True, help_text="When people were told.")
    closed_at = models.DateTimeField(null=True, blank=True, help_text="When the cause was gone.")
    dismissed_at = models.DateTimeField(
        null=True, blank=True, help_text="When somebody said that nothing is to be done about the cause as it is."
    )

    objects = Alerts.as_manager()

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["project", "kind", "about"],
                condition=models.Q(closed_at=None),
                name="a_cause_has_one_alert_at_a_time",
            )
        ]

    def __str__(self) -> str:
        return f"{self.kind} in {self.project}: {self.text}"


class Notice(models.Model):
    """Something that a person is told on the pages until they have seen it, and by e-mail if they want that."""

    user = models.ForeignKey("annotate.User", models.CASCADE, related_name="notices")
    project = models.ForeignKey("annotate.Project", models.CASCADE, related_name="notices")
    alert = models.ForeignKey(Alert, models.SET_NULL, null=True, blank=True, related_name="notices")
    text = models.CharField(max_length=300)
    url = models.CharField(max_length=200)
    created_at = models.DateTimeField(auto_now_add=True)
    seen_at = models.DateTimeField(null=True, blank=True)
    mail_at = models.DateTimeField(null=True, blank=True, help_text="When it is to be mailed; empty: never, or done.")
    mail_tries = models.PositiveSmallIntegerField(default=0)
    mailed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-id"]
        indexes = [
            models.Index(fields=["user", "seen_at"]),
            models.Index(
                fields=["mail_at"],
                condition=models.Q(mail_at__isnull=False, seen_at=None),
                name="notice_mail_to_go",
            ),
        ]
