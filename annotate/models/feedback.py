"""Store annotations. Append-only: undo, bans and anomalies change a row's status, never the row."""

from __future__ import annotations

from django.db import models
from django.db.models import Exists, OuterRef, Q

from annotate.models.assignments import Assignment
from annotate.models.people import User
from annotate.models.projects import Project
from annotate.models.prompts import Split, index_where_set


class AnnotatorKind(models.TextChoices):
    PERSON = "person"
    SIMULATION = "simulation"


def annotator_kind_of(user: User) -> str:
    """Return whether this account is a person's or a simulation's, as each row of theirs keeps it."""
    return AnnotatorKind.SIMULATION if user.is_simulated else AnnotatorKind.PERSON


class Status(models.TextChoices):
    COUNTED = "counted"
    HELD = "held"
    EXCLUDED = "excluded"
    WITHDRAWN = "withdrawn"


class Winner(models.TextChoices):
    MODEL_A = "model_a", "A is better"
    MODEL_B = "model_b", "B is better"
    TIE = "tie", "About the same"
    BOTH_BAD = "both_bad", "Both are bad"


class FeedbackQuerySet(models.QuerySet):
    def counted(self) -> FeedbackQuerySet:
        return self.filter(status=Status.COUNTED)

    def by(self, judge: str) -> FeedbackQuerySet:
        """Return rows of people, or of simulations; never both in one figure."""
        return self.filter(judge=judge)

    def of_work(self) -> FeedbackQuerySet:
        """Return what was said of the work itself: without gold items, repeats and the tutorial."""
        purposes = Assignment.Purpose
        return self.exclude(assignment__purpose__in=[purposes.GOLD, purposes.REPEAT, purposes.TUTORIAL])

    def standing(self) -> FeedbackQuerySet:
        """Return what a file may take: counted, said of the work itself, and not overruled by an adjudication."""
        purposes = Assignment.Purpose
        overruling = Assignment.objects.filter(
            project=OuterRef("project"),
            item=OuterRef("assignment__item"),
            purpose=purposes.ADJUDICATION,
            state=Assignment.State.SUBMITTED,
        )
        overruled = Q(assignment__purpose=purposes.WORK) & Exists(overruling)
        rows = self.counted().of_work().exclude(overruled)
        if self.model is not Comparison:
            return rows
        # A vote on a whole conversation in the arena, whose answers have different turns before them, makes no pair.
        return rows.filter(completion_a__prompt=models.F("completion_b__prompt"))

    def teaching(self) -> FeedbackQuerySet:
        """Return what a model may learn from: what stands, but for imported votes on what followed two first answers,
        which alone are stored (`later_a` and `later_b` in `extra`): they would get the credit for all of it."""
        rows = self.standing()
        return rows.exclude(extra__has_any_keys=["later_a", "later_b"]) if self.model is Comparison else rows

    def on_split(self, side: str) -> FeedbackQuerySet:
        return self.filter(prompt__side=side)

    def ranking(self, judge: str) -> FeedbackQuerySet:
        """Return the comparisons that may rank models, whatever their status: of the eval split, by one kind of
        annotators, between answers of two models. Raises ValueError on a kind that there is not.

        The one place where this rule is a filter; `evaluation/leaderboard/votes/alike.py` has it for rows of any kind.
        """
        if judge not in AnnotatorKind.values:
            raise ValueError(f"unknown judge {judge!r}: use one of {', '.join(AnnotatorKind.values)}.")
        rows = self.by(judge).on_split(Split.EVAL)
        rows = rows.filter(completion_a__model__isnull=False, completion_b__model__isnull=False)
        return rows.exclude(completion_a__model=models.F("completion_b__model"))


class Feedback(models.Model):
    """Hold what every judgement carries: who, when, how long, under which guidelines, and whether it counts."""

    project = models.ForeignKey("annotate.Project", models.PROTECT, related_name="%(class)ss")
    prompt = models.ForeignKey("annotate.Prompt", models.PROTECT, related_name="%(class)ss")
    assignment = models.ForeignKey(  # none in an import: the index is of the rows that have one
        "annotate.Assignment", models.PROTECT, null=True, blank=True, related_name="%(class)ss", db_index=False
    )
    author = models.ForeignKey("annotate.User", models.PROTECT, null=True, blank=True, related_name="%(class)ss")
    visitor = models.CharField(
        max_length=64, blank=True, help_text="A visitor without an account: a hash of the session."
    )
    judge = models.CharField(max_length=10, choices=AnnotatorKind.choices)
    source = models.CharField(max_length=60, default="annotation", help_text="annotation, arena, or the import's name.")
    seconds = models.FloatField(null=True, blank=True, help_text="From being shown to being sent.")
    guideline_version = models.PositiveIntegerField(null=True, blank=True)
    idempotency_key = models.CharField(max_length=120, null=True, blank=True, unique=True)
    comment = models.TextField(blank=True)
    status = models.CharField(max_length=10, choices=Status.choices, default=Status.COUNTED)
    status_reason = models.CharField(max_length=200, blank=True)
    source_judge = models.CharField(
        max_length=120, blank=True, help_text="Of an import: the annotator's name in its file."
    )
    extra = models.JSONField(default=dict, blank=True, help_text="Of an import: what its file says beside it.")
    created_at = models.DateTimeField(auto_now_add=True)

    objects = FeedbackQuerySet.as_manager()

    class Meta:
        abstract = True
        ordering = ["id"]
        indexes = [index_where_set("assignment", "%(class)s_by_assignment")]


class Rating(Feedback):
    """Thumbs, stars and aspects for one completion."""

    completion = models.ForeignKey("annotate.Completion", models.PROTECT, related_name="ratings")
    thumbs = models.BooleanField(null=True, blank=True, help_text="True is up.")
    stars = models.PositiveSmallIntegerField(null=True, blank=True)
    aspects = models.JSONField(default=dict, blank=True)

    class Meta(Feedback.Meta):
        constraints = [
            models.CheckConstraint(
                condition=models.Q(stars=None) | models.Q(stars__range=(1, 5)), name="stars_are_1_to_5"
            ),
            models.CheckConstraint(
                condition=models.Q(thumbs__isnull=False) | models.Q(stars__isnull=False) | ~models.Q(aspects={}),
                name="a_rating_says_something",
            ),
        ]


class Comparison(Feedback):
    """Two completions of one prompt, in the order shown, and which was better."""

    completion_a = models.ForeignKey("annotate.Completion", models.PROTECT, related_name="compared_as_a")
    completion_b = models.ForeignKey("annotate.Completion", models.PROTECT, related_name="compared_as_b")
    winner = models.CharField(max_length=8, choices=Winner.choices)
    strength = models.PositiveSmallIntegerField(
        null=True, blank=True, help_text="1 slightly, 2 clearly, 3 much better."
    )
    battle = models.OneToOneField("annotate.Battle", models.PROTECT, null=True, blank=True, related_name="comparison")
    ranking = models.ForeignKey(
        "annotate.Ranking", models.PROTECT, null=True, blank=True, related_name="pairs", db_index=False
    )

    class Meta(Feedback.Meta):
        indexes = [*Feedback.Meta.indexes, index_where_set("ranking", "comparison_by_ranking")]
        constraints = [
            models.CheckConstraint(condition=models.Q(winner__in=Winner.values), name="the_winner_is_known"),
            models.CheckConstraint(
                condition=~models.Q(completion_a=models.F("completion_b")), name="nothing_is_compared_with_itself"
            ),
            models.CheckConstraint(
                condition=models.Q(strength=None) | models.Q(strength__range=(1, 3)), name="strength_is_1_to_3"
            ),
        ]


class Ranking(Feedback):
    """Three to six completions from best to worst: `order` is a list of groups of ids, equals together.

    Stored as its pairs too, each a Comparison that points here. It is one judgement: its pairs change status with it,
    and weigh as one where a model learns from them.
    """

    order = models.JSONField(help_text="[[best], [next, its equal], …]: ids of completions.")


class Span(Feedback):
    """A part of a completion that a judge has marked: characters `start` to `end` (code points), and its label."""

    completion = models.ForeignKey("annotate.Completion", models.PROTECT, related_name="spans")
    start = models.PositiveIntegerField()
    end = models.PositiveIntegerField()
    label = models.CharField(max_length=40, help_text="The name of a scale of the kind span.")
    text = models.TextField(help_text="What was marked, as it stood.")

    class Meta(Feedback.Meta):
        constraints = [
            models.CheckConstraint(condition=models.Q(start__lt=models.F("end")), name="a_span_marks_something")
        ]


class Demonstration(Feedback):
    """An answer that a person wrote, or made out of a completion."""

    text = models.TextField()
    edited_from = models.ForeignKey(
        "annotate.Completion", models.PROTECT, null=True, blank=True, related_name="edits", db_index=False
    )

    class Meta(Feedback.Meta):
        indexes = [*Feedback.Meta.indexes, index_where_set("edited_from", "demonstration_by_original")]


class Flag(Feedback):
    """Mark something wrong with an item: offensive, broken, off topic."""

    completion = models.ForeignKey("annotate.Completion", models.PROTECT, null=True, blank=True, related_name="flags")
    reason = models.CharField(max_length=200)


class StatusChange(models.Model):
    """The ledger of statuses: which row went from what to what, by whom and why."""

    kind = models.CharField(max_length=16, help_text="rating, comparison, ranking, span, …: the name of its table.")
    feedback_id = models.BigIntegerField()
    before = models.CharField(max_length=10, choices=Status.choices)
    after = models.CharField(max_length=10, choices=Status.choices)
    reason = models.CharField(max_length=200)
    by = models.ForeignKey("annotate.User", models.SET_NULL, null=True, blank=True, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        indexes = [models.Index(fields=["kind", "feedback_id"])]


def feedback_tables(project: Project) -> list[FeedbackQuerySet]:
    """Return what people say in the project, by table; the pairs of a ranking are counted with it."""
    return [
        project.ratings.all(),
        project.comparisons.filter(ranking=None),
        project.rankings.all(),
        project.demonstrations.all(),
    ]
