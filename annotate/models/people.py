from __future__ import annotations

from allauth.mfa.models import Authenticator
from django.contrib.auth.models import AbstractUser
from django.db import models
from django.utils import timezone
from django.utils.functional import cached_property


class User(AbstractUser):
    """Identify everybody who signs in. A simulated annotator says so here, and every row of theirs copies it."""

    is_simulated = models.BooleanField(default=False)
    shortcuts = models.JSONField(default=dict, blank=True, help_text="Keys of one's own: {action: key}.")

    tours_dismissed_at = models.DateTimeField(
        null=True, blank=True, help_text="Since when the sample project offers no tour to them."
    )

    token_scope = ""  # of the API token that this request came with, see `permissions`; "": signed in, with all rights

    @cached_property
    def has_second_factor(self) -> bool:
        """Return whether this account has an app as a second factor; simulated annotators sign in nowhere."""
        return self.is_simulated or Authenticator.objects.filter(user=self.pk, type=Authenticator.Type.TOTP).exists()

    def lock(self) -> None:
        """Let one transaction at a time count what this person may do so many times; see `Project.lock`."""
        User.objects.select_for_update(no_key=True).filter(pk=self.pk).values_list("pk").first()


class Role(models.TextChoices):
    ANNOTATOR = "annotator"
    REVIEWER = "reviewer"
    RESEARCHER = "researcher"
    MANAGER = "manager"


class NoticeMail(models.TextChoices):
    """Say when the notices of a project are mailed to one of its managers or researchers."""

    OWN_RUNS = "own_runs", "my own runs at once, others daily"
    AT_ONCE = "at_once", "at once"
    DAILY = "daily", "once a day"
    NEVER = "never", "never"


class Membership(models.Model):
    """Hold what a person may do in a project."""

    project = models.ForeignKey("annotate.Project", models.CASCADE, related_name="memberships")
    user = models.ForeignKey("annotate.User", models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=16, choices=Role.choices, default=Role.ANNOTATOR)
    guideline_read = models.PositiveIntegerField(null=True, blank=True, help_text="The newest version they have read.")
    tutorial_passed_at = models.DateTimeField(null=True, blank=True)
    paused_at = models.DateTimeField(null=True, blank=True, help_text="Gets no new items until a manager lifts it.")
    paused_reason = models.CharField(max_length=200, blank=True)
    warned_at = models.DateTimeField(
        null=True, blank=True, help_text="Since then too many missed gold items are a pause."
    )
    gold_since = models.DateTimeField(null=True, blank=True, help_text="Known answers from then on are looked at.")
    notice = models.TextField(blank=True, help_text="Markdown that they must read before the next item.")
    language = models.CharField(
        max_length=120, blank=True, help_text="Tags of the languages that they read: de, pt-BR. Empty: all."
    )
    batch = models.CharField(max_length=60, blank=True, help_text="With whom they were invited.")
    notice_mail = models.CharField(
        max_length=8,
        choices=NoticeMail.choices,
        default=NoticeMail.OWN_RUNS,
        help_text="When notices of the project are mailed to a manager or researcher.",
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["project", "user"], name="one_membership_per_person")]

    def __str__(self) -> str:
        return f"{self.user} as {self.role} in {self.project}"


class Invitations(models.QuerySet["Invitation"]):
    def unanswered(self) -> Invitations:
        """Return those that are neither accepted nor taken back, run out or not."""
        return self.filter(accepted_at=None, revoked_at=None)

    def open(self) -> Invitations:
        """Return those whose link can be accepted now."""
        return self.unanswered().filter(expires_at__gt=timezone.now())


class Invitation(models.Model):
    """A link that makes whoever opens it a member, once and for a while. Only the hash of its token is kept.

    The token of an invitation in a batch follows from its `salt` and the installation's secret, so that its link can be
    mailed later and told again, and whoever reads the database cannot use it.
    """

    class Mail(models.TextChoices):
        NONE = "", "not mailed"
        WAITING = "waiting"
        SENDING = "sending"  # claimed by a background worker: never sent by another
        SENT = "sent"
        FAILED = "failed"

    project = models.ForeignKey("annotate.Project", models.CASCADE, related_name="invitations")
    token_hash = models.CharField(max_length=64, unique=True)
    role = models.CharField(max_length=16, choices=Role.choices, default=Role.ANNOTATOR)
    email = models.EmailField(blank=True, help_text="Whom it was sent to; empty for a link that was handed over.")
    invited_by = models.ForeignKey("annotate.User", models.SET_NULL, null=True, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField()
    accepted_by = models.ForeignKey("annotate.User", models.SET_NULL, null=True, blank=True, related_name="+")
    accepted_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    batch = models.CharField(max_length=60, blank=True)
    language = models.CharField(max_length=120, blank=True, help_text="As their membership has it.")
    salt = models.CharField(max_length=32, blank=True, editable=False)
    mail = models.CharField(max_length=8, choices=Mail.choices, default=Mail.NONE, blank=True)
    mail_problem = models.CharField(max_length=200, blank=True)
    queued_at = models.DateTimeField(null=True, blank=True, help_text="When its mail was last asked for.")
    mailed_at = models.DateTimeField(null=True, blank=True, help_text="When its mail was last taken up or sent.")
    opened_at = models.DateTimeField(null=True, blank=True, help_text="When its link was first opened.")

    objects = Invitations.as_manager()

    class Meta:
        ordering = ["-id"]
        indexes = [
            models.Index(fields=["mail", "id"], name="mail_to_go"),
            models.Index(fields=["invited_by", "queued_at"], name="invitation_mail_of_a_day"),
        ]

    def __str__(self) -> str:
        return f"invitation to {self.project} as {self.role}"


class AuditEntry(models.Model):
    """Keep who changed what, and when. Written in the transaction of the change itself; never edited."""

    project = models.ForeignKey("annotate.Project", models.CASCADE, null=True, blank=True, related_name="audit")
    actor = models.ForeignKey("annotate.User", models.SET_NULL, null=True, blank=True, related_name="+")
    action = models.CharField(max_length=60, help_text="What was done, such as project.settings or member.role.")
    about = models.CharField(max_length=200, help_text="To what, in words for people.")
    changes = models.JSONField(default=dict, help_text="{field: [before, after]}.")
    reason = models.CharField(max_length=200, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-id"]
        indexes = [models.Index(fields=["project", "created_at"])]

    def __str__(self) -> str:
        return f"{self.action}: {self.about}"
