"""Figures that were computed once and can be pointed at: evaluations and leaderboards at a moment."""

from __future__ import annotations

from django.db import models
from django.utils import timezone

from evaluation.models.alerts import Alert as Alert
from evaluation.models.alerts import Notice as Notice
from evaluation.models.background_figures import KeptFigures as KeptFigures
from evaluation.models.experiments import ArmModel as ArmModel
from evaluation.models.experiments import Experiment as Experiment
from evaluation.models.experiments import ExperimentArm as ExperimentArm
from evaluation.models.judges import JudgeModel as JudgeModel
from evaluation.models.judges import JudgeReply as JudgeReply
from evaluation.models.judges import RepeatedVerdict as RepeatedVerdict
from evaluation.models.judges import Rubric as Rubric
from evaluation.models.judges import Verdict as Verdict
from evaluation.models.judges import VerdictDataset as VerdictDataset
from evaluation.models.rounds import Round as Round
from evaluation.models.rounds import RoundReview as RoundReview
from evaluation.models.rounds import RoundSeries as RoundSeries


class Evaluation(models.Model):
    """One metric of one model, with its error, its n and the signature that tells how to get it again."""

    project = models.ForeignKey("annotate.Project", models.PROTECT, null=True, related_name="evaluations")
    model = models.ForeignKey("annotate.LanguageModel", models.PROTECT, related_name="evaluations")
    run = models.ForeignKey("training.Run", models.PROTECT, null=True, blank=True, related_name="evaluations")
    task = models.CharField(max_length=200, blank=True, help_text="What it was measured on.")
    group = models.CharField(max_length=120, blank=True, help_text="A part of the task; empty for the whole.")
    metric = models.CharField(max_length=60)
    value = models.FloatField()
    standard_error = models.FloatField(null=True, blank=True)
    lower = models.FloatField(null=True, blank=True)
    upper = models.FloatField(null=True, blank=True)
    n = models.PositiveIntegerField()
    higher_is_better = models.BooleanField(null=True, blank=True)
    opponent = models.ForeignKey("annotate.LanguageModel", models.PROTECT, null=True, blank=True, related_name="+")
    items_hash = models.CharField(max_length=64, blank=True, help_text="Figures with one hash can be set item by item.")
    clean = models.JSONField(default=dict, blank=True, help_text="The same without items that were trained on.")
    signature = models.CharField(max_length=500)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-id"]
        indexes = [models.Index(fields=["project", "task", "metric", "model"])]

    def __str__(self) -> str:
        return f"{self.metric} of {self.model}: {self.value:g}"


class Leaderboard(models.Model):
    """Ratings at a moment, from counted votes of one kind of judge in the eval split. Stored when it is pointed at."""

    project = models.ForeignKey("annotate.Project", models.PROTECT, related_name="leaderboards")
    judge = models.CharField(max_length=10)
    last_comparison_id = models.BigIntegerField(help_text="Votes up to this one are in it.")
    votes = models.PositiveIntegerField()
    ratings = models.JSONField()
    signature = models.CharField(max_length=500)
    state = models.CharField(max_length=32, blank=True, help_text="Of the counts that it was fitted to.")
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["-id"]


class VoteCursor(models.Model):
    """Say how far the ledger of all projects has been folded into counts: one row, locked while somebody folds."""

    last_comparison_id = models.BigIntegerField(default=0)
    last_status_change_id = models.BigIntegerField(default=0)
    late = models.JSONField(default=dict, help_text="Ids that were missing when the cursor passed them, by table.")
    categories = models.CharField(
        max_length=32,
        blank=True,
        default="",
        db_default="",
        help_text="Another one after a prompt changed its category.",
    )


class VoteCounts(models.Model):
    """Counted votes of a project by one kind of judge, or the part of them in a category or language.

    What a leaderboard is fitted to. A cache that can be made anew from the ledger at any time; never the truth.
    """

    class Part(models.TextChoices):
        ALL = "", "all"
        CATEGORY = "category"
        LANGUAGE = "language"

    project = models.ForeignKey("annotate.Project", models.CASCADE, related_name="vote_counts")
    judge = models.CharField(max_length=10)
    part = models.CharField(max_length=8, choices=Part.choices, default=Part.ALL, blank=True)
    name = models.CharField(max_length=60, blank=True, help_text="Which category or language; empty for all.")
    model_ids = models.JSONField(default=list, help_text="Ids of language models, in the order of the cells.")
    cells = models.BinaryField(help_text="How often A was i, B was j and the label k: compressed (M, M, 4) int64.")
    votes = models.BigIntegerField(default=0)
    left_out = models.JSONField(default=dict, help_text="How many do not count, by status.")
    spread = models.JSONField(default=dict, help_text="How votes were spread over voters when that was last read.")
    last_comparison_id = models.BigIntegerField(default=0)
    last_status_change_id = models.BigIntegerField(default=0)
    state = models.CharField(max_length=32, help_text="Another one after each change.")
    changed_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["project", "judge", "part", "name"], name="one_count_of_the_same_votes")
        ]


class Style(models.Model):
    """Hold what style control needs to know of an answer, counted once."""

    completion = models.OneToOneField("annotate.Completion", models.CASCADE, related_name="style", primary_key=True)
    length = models.PositiveIntegerField()
    headers = models.PositiveIntegerField()
    lists = models.PositiveIntegerField()
    bold = models.PositiveIntegerField()


class PromptLanguage(models.Model):
    """The language of a prompt, found once."""

    prompt = models.OneToOneField("annotate.Prompt", models.CASCADE, related_name="found_language", primary_key=True)
    language = models.CharField(max_length=8, db_index=True)


class PromotionRule(models.Model):
    """Hold what a model must show before a project serves it. Changing it makes a new one; the newest is in force."""

    class Sampling(models.TextChoices):
        """Say whether a model that enters has the eval prompts answered in bulk, so that battles wait for no server."""

        AUTO = "auto"  # where they are few enough to be cheap: enrolment.FEW_PROMPTS
        ALWAYS = "always"
        NEVER = "never"

    project = models.ForeignKey("annotate.Project", models.PROTECT, related_name="promotion_rules")
    judge = models.CharField(max_length=10, default="person", help_text="Whose votes decide.")
    margin = models.FloatField(default=0, help_text="Rating points by which the lower bound must lie above the parent.")
    always_valid = models.BooleanField(default=True, help_text="By the sequence that may be read after every vote.")
    fewest_votes = models.PositiveIntegerField(default=0)
    tolerances = models.JSONField(
        default=list, blank=True, help_text='[{"task", "metric", "worst"}]: how much worse than the parent at most.'
    )
    beats_champion = models.BooleanField(default=True, help_text="And above what is served now, by the same rule.")
    is_automatic = models.BooleanField(default=False)
    first_votes_only = models.BooleanField(
        default=True, help_text="Of each voter the first vote on a pair alone, so that the sequence holds."
    )
    sampling = models.CharField(
        max_length=6, choices=Sampling.choices, default=Sampling.AUTO, help_text="Whether answers are sampled at once."
    )
    created_by = models.ForeignKey("annotate.User", models.SET_NULL, null=True, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-id"]


class Candidacy(models.Model):
    """A model that a run made, on its way to being served: enrolled, and then decided by evidence."""

    class State(models.TextChoices):
        OPEN = "open"  # evidence is still coming
        READY = "ready"  # the rule is met; a manager may promote with one click
        REFUSED = "refused"  # worse beyond doubt, or a tolerance is broken
        PROMOTED = "promoted"
        WITHDRAWN = "withdrawn"

    project = models.ForeignKey("annotate.Project", models.PROTECT, related_name="candidacies")
    model = models.ForeignKey("annotate.LanguageModel", models.PROTECT, related_name="candidacies")
    run = models.ForeignKey("training.Run", models.PROTECT, null=True, blank=True, related_name="candidacies")
    champion = models.ForeignKey("annotate.LanguageModel", models.PROTECT, null=True, blank=True, related_name="+")
    state = models.CharField(max_length=10, choices=State.choices, default=State.OPEN)
    evidence = models.JSONField(default=dict, blank=True, help_text="Each check as it stands, with its numbers.")
    created_at = models.DateTimeField(auto_now_add=True)
    changed_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["-id"]
        constraints = [models.UniqueConstraint(fields=["project", "model"], name="a_model_stands_once_in_a_project")]


class Decision(models.Model):
    """One line of the history: what was found or done, when, by whom and on what numbers. Never edited."""

    class What(models.TextChoices):
        ENROLLED = "enrolled"
        READY = "ready"
        OPEN = "open"  # evidence has gone back below the rule
        REFUSED = "refused"
        PROMOTED = "promoted"
        ROLLED_BACK = "rolled_back"
        RULE_CHANGED = "rule_changed"
        WITHDRAWN = "withdrawn"

    project = models.ForeignKey("annotate.Project", models.PROTECT, related_name="decisions")
    candidacy = models.ForeignKey(Candidacy, models.PROTECT, null=True, blank=True, related_name="decisions")
    rule = models.ForeignKey(PromotionRule, models.PROTECT, null=True, blank=True, related_name="decisions")
    what = models.CharField(max_length=12, choices=What.choices)
    sentence = models.TextField()
    evidence = models.JSONField(default=dict, blank=True)
    by = models.ForeignKey("annotate.User", models.SET_NULL, null=True, blank=True, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-id"]


class Promotion(models.Model):
    """Say which model a project serves by default from a moment on, and on what evidence."""

    project = models.ForeignKey("annotate.Project", models.PROTECT, related_name="promotions")
    model = models.ForeignKey("annotate.LanguageModel", models.PROTECT, related_name="promotions")
    leaderboard = models.ForeignKey(Leaderboard, models.PROTECT, null=True, blank=True, related_name="promotions")
    reason = models.TextField()
    candidacy = models.ForeignKey(Candidacy, models.PROTECT, null=True, blank=True, related_name="promotions")
    rolls_back = models.ForeignKey("self", models.PROTECT, null=True, blank=True, related_name="+")
    is_automatic = models.BooleanField(default=False, help_text="By the rule, and not by a person.")
    promoted_by = models.ForeignKey("annotate.User", models.SET_NULL, null=True, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-id"]


class AskedAgain(models.Model):
    """An item of the train split on which judges disagree, put first in the queue until enough others have judged
    it."""

    project = models.ForeignKey("annotate.Project", models.CASCADE, related_name="asked_again")
    prompt = models.ForeignKey("annotate.Prompt", models.PROTECT, related_name="+")
    completion_a = models.ForeignKey("annotate.Completion", models.PROTECT, related_name="+")
    completion_b = models.ForeignKey("annotate.Completion", models.PROTECT, null=True, blank=True, related_name="+")
    places = models.PositiveIntegerField(help_text="Annotators in all, including those who have annotated it before.")
    is_open = models.BooleanField(default=True)
    by = models.ForeignKey("annotate.User", models.SET_NULL, null=True, blank=True, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-id"]
        indexes = [models.Index(fields=["project", "is_open"])]


class Exclusion(models.Model):
    """One act: all that a judge had said in a project was excluded by a manager, or withdrawn by themselves.

    The judge is `person`, or where only an import names them, `source_judge` of that `source`.

    `changes` are the lines of the ledger that the act wrote, so that undoing it brings back these rows and no others.
    """

    class Status(models.TextChoices):
        EXCLUDED = "excluded"
        WITHDRAWN = "withdrawn"

    project = models.ForeignKey("annotate.Project", models.PROTECT, related_name="exclusions")
    person = models.ForeignKey("annotate.User", models.PROTECT, null=True, blank=True, related_name="exclusions")
    source = models.CharField(max_length=60, blank=True, help_text="The import that names the annotator.")
    source_judge = models.CharField(max_length=120, blank=True, help_text="The annotator's name in its file.")
    status = models.CharField(max_length=10, choices=Status.choices, help_text="The new status of their annotations.")
    reason = models.CharField(max_length=160)
    pauses = models.BooleanField(default=False, help_text="It also paused them, so that they get no new items.")
    touched = models.JSONField(default=dict, help_text="What it touched, as it was shown before: ids and numbers.")
    changes = models.ManyToManyField("annotate.StatusChange", related_name="exclusions")
    by = models.ForeignKey("annotate.User", models.PROTECT, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    undone_by = models.ForeignKey("annotate.User", models.PROTECT, null=True, blank=True, related_name="+")
    undone_at = models.DateTimeField(null=True, blank=True)
    undone_reason = models.CharField(max_length=160, blank=True)
    brought_back = models.JSONField(
        default=dict, blank=True, help_text="By kind, how many annotations the undo restored."
    )

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["project", "person"],
                condition=models.Q(undone_at=None),
                name="a_person_is_excluded_once_at_a_time",
            ),
            models.UniqueConstraint(
                fields=["project", "source", "source_judge"],
                condition=models.Q(undone_at=None, person=None),
                name="an_imported_judge_is_excluded_once_at_a_time",
            ),
            models.CheckConstraint(
                condition=models.Q(person__isnull=False, source="", source_judge="")
                | models.Q(person=None) & ~models.Q(source_judge=""),
                name="an_exclusion_names_one_judge",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} {self.status} in {self.project}"

    @property
    def name(self) -> str:
        return self.person.username if self.person else self.source_judge


class FirstModel(models.Model):
    """Which model, file and runs the five steps of a project's first trained model mean, so that they can be left and
    taken up on another device. What has come of each is read from those rows."""

    project = models.OneToOneField("annotate.Project", models.CASCADE, related_name="first_model")
    model = models.ForeignKey("annotate.LanguageModel", models.PROTECT, null=True, blank=True, related_name="+")
    import_run = models.ForeignKey("training.Run", models.SET_NULL, null=True, blank=True, related_name="+")
    prompts = models.ForeignKey("annotate.Import", models.SET_NULL, null=True, blank=True, related_name="+")
    sampling_run = models.ForeignKey("training.Run", models.SET_NULL, null=True, blank=True, related_name="+")
    reward_run = models.ForeignKey("training.Run", models.SET_NULL, null=True, blank=True, related_name="+")
    training_run = models.ForeignKey("training.Run", models.SET_NULL, null=True, blank=True, related_name="+")
    problem = models.TextField(blank=True, help_text="Why training did not go on by itself, in words.")
    freeze = models.ForeignKey(
        "annotate.DatasetFreeze", models.SET_NULL, null=True, blank=True, related_name="+",
        help_text="The order of the dataset that a step waits for.",
    )  # fmt: skip
    once_frozen = models.JSONField(null=True, blank=True, help_text="Which run is queued then.")
    changed_at = models.DateTimeField(auto_now=True)

    def __str__(self) -> str:
        return f"first model of {self.project}"
