"""Store judges that are models: their rubrics by version, and what they said. A third kind beside people and
simulations, in tables of its own, so that no count, dataset or agreement of people ever takes it in unasked."""

from __future__ import annotations

from django.db import models

from annotate.models import Winner


class JudgeModel(models.Model):
    """A language model that judges in a project. What it is told is in its rubrics; what it said points at these."""

    project = models.ForeignKey("annotate.Project", models.PROTECT, related_name="judge_models")
    name = models.CharField(max_length=120)
    model = models.ForeignKey("annotate.LanguageModel", models.PROTECT, related_name="judging")
    created_by = models.ForeignKey("annotate.User", models.SET_NULL, null=True, blank=True, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    retired_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(fields=["project", "name"], name="a_judge_model_has_its_name_in_a_project")
        ]

    def __str__(self) -> str:
        return self.name


class Rubric(models.Model):
    """What a judge model is told, never edited: a new text is a new version, and old verdicts keep theirs."""

    class Form(models.TextChoices):
        PAIRWISE = "pairwise", "pairs, in both orders"
        SCALE = "scale", "each answer, from 1 to 10"

    judge = models.ForeignKey(JudgeModel, models.PROTECT, related_name="rubrics")
    version = models.PositiveIntegerField()
    form = models.CharField(max_length=8, choices=Form.choices, default=Form.PAIRWISE)
    text = models.TextField()
    created_by = models.ForeignKey("annotate.User", models.SET_NULL, null=True, blank=True, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-version"]
        constraints = [models.UniqueConstraint(fields=["judge", "version"], name="versions_of_a_rubric_are_numbered")]

    def __str__(self) -> str:
        return f"{self.judge}, version {self.version}"


class JudgeReply(models.Model):
    """What a judge model says of a pair or of an answer, and what that took."""

    winner = models.CharField(max_length=8, blank=True, choices=Winner.choices, help_text="Empty on a scale.")
    a_first = models.CharField(
        max_length=8, blank=True, help_text="The winner with A shown first; empty where not asked."
    )
    b_first = models.CharField(max_length=8, blank=True, help_text="The winner when B was shown first.")
    grade = models.FloatField(null=True, blank=True, help_text="On a scale: 1 to 10.")
    reasons = models.JSONField(default=list, help_text="Its reply in each order asked, as it came.")
    prompt_tokens = models.PositiveIntegerField(null=True, blank=True)
    completion_tokens = models.PositiveIntegerField(null=True, blank=True)
    seconds = models.FloatField(null=True, blank=True, help_text="That its replies took together.")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        abstract = True


class Verdict(JudgeReply):
    """What a judge model said of two answers, asked in both orders, or of one answer on a scale. Never edited.

    The answers stand in the order of their ids. `winner` is what both orders agree on; where they differ, a tie.
    """

    rubric = models.ForeignKey(Rubric, models.PROTECT, related_name="verdicts")
    run = models.ForeignKey("training.Run", models.PROTECT, null=True, blank=True, related_name="verdicts")
    prompt = models.ForeignKey("annotate.Prompt", models.PROTECT, related_name="+")
    completion_a = models.ForeignKey("annotate.Completion", models.PROTECT, related_name="+")
    completion_b = models.ForeignKey("annotate.Completion", models.PROTECT, null=True, blank=True, related_name="+")

    class Meta:
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(fields=["rubric", "completion_a", "completion_b"], name="a_pair_is_judged_once"),
            models.UniqueConstraint(
                fields=["rubric", "completion_a"],
                condition=models.Q(completion_b=None),
                name="an_answer_is_graded_once",
            ),
            models.CheckConstraint(
                condition=models.Q(completion_b=None, grade__isnull=False, winner="")
                | models.Q(
                    completion_b__gt=models.F("completion_a"), grade=None, winner__in=["model_a", "model_b", "tie"]
                ),
                name="a_verdict_is_of_a_pair_or_a_grade",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.winner or self.grade} by {self.rubric}"

    @property
    def is_consistent(self) -> bool:
        """Return whether both orders named the same winner."""
        return self.a_first == self.b_first


class RepeatedVerdict(JudgeReply):
    """What a judge model says of the same answers when a later run asks it again, by the same version of its rubric. It
    stands beside the verdict, which alone counts, and tells whether the model behind the endpoint has changed."""

    verdict = models.ForeignKey(Verdict, models.PROTECT, related_name="repeats")
    run = models.ForeignKey("training.Run", models.PROTECT, related_name="repeated_verdicts")

    class Meta:
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(fields=["verdict", "run"], name="a_run_asks_about_a_verdict_once"),
        ]

    def __str__(self) -> str:
        return f"{self.winner or self.grade} again, by {self.run}"


class VerdictDataset(models.Model):
    """Say which verdicts a dataset was frozen from: those on pairs of the train split by one version of a rubric, up to
    the last one then."""

    dataset = models.OneToOneField("annotate.Dataset", models.PROTECT, related_name="from_verdicts")
    rubric = models.ForeignKey(Rubric, models.PROTECT, related_name="datasets")
    last_verdict_id = models.BigIntegerField()

    def __str__(self) -> str:
        return f"{self.dataset} from {self.rubric}"
