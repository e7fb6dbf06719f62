"""Which adapters are in the memory of which server: the rows that the background worker loads and unloads by."""

from __future__ import annotations

from django.db import models
from django.utils import timezone

from annotate.models.language_models import LanguageModel

DEFAULT_ADAPTER_LIMIT = 8


class AdapterServer(models.Model):
    """How the server of a base takes adapters. A base without such a row has the defaults."""

    base = models.OneToOneField(LanguageModel, models.CASCADE, related_name="adapter_server")
    limit = models.PositiveSmallIntegerField(
        default=DEFAULT_ADAPTER_LIMIT, help_text="Adapters of this base in its server's memory at one time."
    )
    data_folder = models.CharField(
        max_length=500, blank=True, help_text="Where the server sees ASSAY_DATA; empty: at the same path as here."
    )

    def __str__(self) -> str:
        return f"server of adapters of {self.base}"


class ServedAdapters(models.QuerySet["ServedAdapter"]):
    def away(self) -> ServedAdapters:
        """Return those that the server of their base has not in memory, so that nobody answers for them. What has no
        base is no server's: the site's own one loads it by its folder."""
        return self.filter(state__in=ServedAdapter.AWAY, base__isnull=False).exclude(base__endpoint="")


class ServedAdapter(models.Model):
    """A child of a run, and how the server that serves its base stands to its adapter.

    While the adapter is loaded at its base's endpoint, the model's own row has that endpoint, too; otherwise its
    endpoint is empty. `due_at`: not before this moment is a waiting one loaded, and until then one being loaded is
    somebody's.
    """

    class State(models.TextChoices):
        WAITING = "waiting"
        LOADING = "loading"
        LOADED = "loaded"
        ON_DEMAND = "on_demand", "on demand"
        EVICTED = "evicted"
        UNLOADED = "unloaded"
        FAILED = "failed"
        COLD = "cold", "not served hot"

    # Of a base with an endpoint: nobody answers for such a child just now.
    AWAY = (State.WAITING, State.LOADING, State.EVICTED, State.UNLOADED, State.FAILED)
    TO_ASK_FOR = (State.EVICTED, State.UNLOADED, State.FAILED)  # asking would have it loaded

    model = models.OneToOneField(LanguageModel, models.CASCADE, related_name="served_adapter")
    base = models.ForeignKey(LanguageModel, models.PROTECT, null=True, related_name="served_children")
    state = models.CharField(max_length=12, choices=State.choices, default=State.WAITING)
    problem = models.CharField(max_length=1000, blank=True, help_text="Why it is not loaded, and what to do.")
    tries = models.PositiveSmallIntegerField(default=0, help_text="In a row that failed.")
    due_at = models.DateTimeField(default=timezone.now)
    asked_at = models.DateTimeField(default=timezone.now, help_text="Since when it is wanted in memory.")
    loaded_at = models.DateTimeField(null=True, blank=True)
    unloaded_at = models.DateTimeField(null=True, blank=True)
    load_seconds = models.FloatField(null=True, blank=True)
    server_url = models.CharField(max_length=500, blank=True, help_text="Where it was loaded last.")
    dialect = models.CharField(max_length=16, blank=True, help_text="How that server takes adapters.")

    objects = ServedAdapters.as_manager()

    class Meta:
        indexes = [models.Index(fields=["state", "due_at"], name="served_adapters_due")]

    def __str__(self) -> str:
        return f"{self.model}: {self.state}"

    @property
    def is_away(self) -> bool:
        """Return whether nobody answers for it just now, as `ServedAdapters.away` has it."""
        return self.base is not None and bool(self.base.endpoint) and self.state in self.AWAY

    @property
    def can_be_asked_for(self) -> bool:
        """Return whether asking for it would have the background worker load it."""
        return self.state in self.TO_ASK_FOR

    def ask(self) -> None:
        """Have the background worker load it as soon as it can; nothing for one that is loaded, or cannot be."""
        now = timezone.now()
        rows = ServedAdapter.objects.filter(pk=self.pk, state__in=self.TO_ASK_FOR, model__retired_at=None)
        rows.update(state=self.State.WAITING, tries=0, due_at=now, asked_at=now, problem="")
