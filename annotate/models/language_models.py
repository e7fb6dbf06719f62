from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from django.conf import settings
from django.db import models
from django.utils import timezone

if TYPE_CHECKING:
    from annotate.models.projects import Project

DEFAULT_CONCURRENCY = 16

# From a model to the projects that it competes in, was made in, or was used in by a run.
_PROJECT_PATHS = (
    *("project", "contests__project", "made_by__project", "kept_checkpoint__run__project"),
    *("runs__project", "rewarded_runs__project", "other_rewarded_runs__project"),
)


class LanguageModelQuerySet(models.QuerySet["LanguageModel"]):
    def available(self) -> LanguageModelQuerySet:
        return self.filter(retired_at=None)

    def policies(self) -> LanguageModelQuerySet:
        return self.filter(kind=LanguageModel.Kind.POLICY)

    def that_answer(self) -> LanguageModelQuerySet:
        """Return those that answer a new question: with weights or an endpoint. Best-of-N has neither."""
        return self.exclude(folder="", endpoint="", served_name="")

    def of_projects(self, projects: Iterable[Project]) -> LanguageModelQuerySet:
        """Return those that compete in these projects, were made or registered there, or were used there by a run."""
        return self.filter(_of(projects))

    def usable_in(self, *projects: Project) -> LanguageModelQuerySet:
        """Return those that runs and arenas of these projects may take: their own, and what is shared with all
        projects."""
        return self.filter(_of(projects) | models.Q(is_shared=True))

    def reward_models(self) -> LanguageModelQuerySet:
        return self.filter(kind=LanguageModel.Kind.REWARD)

    def made_in(self, project: Project) -> LanguageModelQuerySet:
        """Return those that runs of this project made, at their end or on their way."""
        return self.filter(models.Q(made_by__project=project) | models.Q(kept_checkpoint__run__project=project))

    def imported(self) -> LanguageModelQuerySet:
        """Return those that no run made."""
        return self.filter(made_by=None, kept_checkpoint=None)


def _of(projects: Iterable[Project]) -> models.Q:
    related = models.Q()
    for path in _PROJECT_PATHS:
        related |= models.Q(pk__in=LanguageModel.objects.filter(**{f"{path}__in": projects}).values("pk"))
    return related


class LanguageModel(models.Model):
    """Hold anything that has learnt something: where its weights or its endpoint are, and what it came from.

    A policy answers, a reward model scores, a classifier labels. Encoders and sequence-to-sequence models are
    pretrained to fill gaps; a tokenizer is where a pretrained model begins.

    Never deleted, only retired. The run that made it is `maker`: that of `made_by`, from training.Run, which ended with
    it, or of `kept_checkpoint`, from training.KeptCheckpoint, which passed it on its way.
    """

    class Kind(models.TextChoices):
        POLICY = "policy"
        REWARD = "reward"
        TOKENIZER = "tokenizer"
        ENCODER = "encoder"
        SEQ2SEQ = "seq2seq"
        CLASSIFIER = "classifier"

    name = models.CharField(max_length=120, unique=True)
    kind = models.CharField(max_length=12, choices=Kind.choices, default=Kind.POLICY)
    parent = models.ForeignKey("self", models.PROTECT, null=True, blank=True, related_name="children")
    stage = models.CharField(max_length=24, default="base", help_text="base, SFT, PPO, …: shown beside the name.")
    folder = models.CharField(max_length=500, blank=True, help_text="Weights; relative paths are below ASSAY_DATA.")
    endpoint = models.CharField(max_length=500, blank=True, help_text="OpenAI-compatible URL, when it is not ours.")
    served_name = models.CharField(max_length=500, blank=True, help_text="What the server calls it.")
    sealed_key = models.TextField(blank=True, editable=False, help_text="The endpoint's key, encrypted for it alone.")
    temperature = models.FloatField(null=True, blank=True, help_text="Empty: as its project says; so the next three.")
    top_p = models.FloatField(null=True, blank=True)
    max_new_tokens = models.PositiveIntegerField(null=True, blank=True)
    system_prompt = models.TextField(blank=True)
    template_options = models.JSONField(
        default=dict, blank=True, help_text="Sent as chat_template_kwargs, such as enable_thinking."
    )
    request_fields = models.JSONField(
        default=dict, blank=True, editable=False, help_text="Sent with each request: how its server picks an adapter."
    )
    concurrency = models.PositiveSmallIntegerField(
        default=DEFAULT_CONCURRENCY, help_text="Requests to its endpoint at one time, of each process that asks it."
    )
    prompt_price = models.DecimalField(
        max_digits=12, decimal_places=6, null=True, blank=True, help_text="Dollars for a million tokens of prompts."
    )
    completion_price = models.DecimalField(
        max_digits=12, decimal_places=6, null=True, blank=True, help_text="Dollars for a million tokens of completions."
    )
    parameters = models.BigIntegerField(null=True, blank=True)
    content_hash = models.CharField(max_length=64, blank=True)
    licence = models.CharField(max_length=120, blank=True)
    origin = models.CharField(max_length=500, blank=True)
    card = models.JSONField(default=dict, blank=True)
    project = models.ForeignKey(
        *("annotate.Project", models.SET_NULL),
        null=True,
        blank=True,
        related_name="registered_models",
        help_text="Where a researcher registered it. A model that a run made is of that run's project.",
    )
    is_shared = models.BooleanField(
        default=False, help_text="Every project may train from it, talk with it, measure and export it."
    )
    created_by = models.ForeignKey("annotate.User", models.SET_NULL, null=True, blank=True, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    retired_at = models.DateTimeField(null=True, blank=True)
    retired_reason = models.CharField(max_length=500, blank=True)
    erased_person_at = models.DateTimeField(
        null=True,
        blank=True,
        editable=False,
        help_text="Since when somebody from whose annotations it learned is erased.",
    )

    objects = LanguageModelQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return self.name

    @property
    def path(self) -> Path | None:
        """Return where the weights are; None for a model behind somebody else's endpoint."""
        return settings.DATA_DIR / self.folder if self.folder else None

    @property
    def public_origin(self) -> str:
        """Return where it comes from, as every reader may know it: a folder of this machine and the address of its
        endpoint are for those who manage it."""
        if self.origin.startswith("/"):
            return "a folder"
        is_its_address = self.endpoint and _host(self.origin) in ("", _host(self.endpoint)) and "://" in self.origin
        return "an endpoint" if is_its_address or (self.endpoint and not self.origin) else self.origin

    @property
    def maker(self) -> Any:
        """Return the run (training.Run) that made it, at its end or on its way; None for one that was imported."""
        if (ended := getattr(self, "made_by", None)) is not None:
            return ended
        kept = getattr(self, "kept_checkpoint", None)
        return kept.run if kept is not None else None

    @property
    def answers(self) -> bool:
        """Return whether it answers a new question; best-of-N chose among answers that its parent gave."""
        return bool(self.folder or self.endpoint or self.served_name)

    @property
    def server_url(self) -> str:
        return self.endpoint or settings.MODEL_SERVER_URL

    @property
    def server_name(self) -> str:
        """Return the `model` of a request to the server: `transformers serve` takes a folder for a name."""
        return self.served_name or str(self.path)

    def retire(self, *, reason: str) -> None:
        self.retired_at, self.retired_reason = timezone.now(), reason
        self.save(update_fields=["retired_at", "retired_reason"])

    def bring_back(self) -> None:
        self.retired_at, self.retired_reason = None, ""
        self.save(update_fields=["retired_at", "retired_reason"])


class Contestant(models.Model):
    """A model that takes part in a project's arena."""

    project = models.ForeignKey("annotate.Project", models.CASCADE, related_name="contestants")
    model = models.ForeignKey(LanguageModel, models.PROTECT, related_name="contests")
    entered_at = models.DateTimeField(auto_now_add=True)
    left_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["project", "model"], name="a_model_enters_an_arena_once")]

    def __str__(self) -> str:
        return f"{self.model} in {self.project}"


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""
