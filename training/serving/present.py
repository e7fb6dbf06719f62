"""Describe adapters that are served hot, for pages, API and the model's own page: plain data."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Min

from annotate.core.permissions import Person, models_seen
from annotate.models import Battle, LanguageModel, ServedAdapter
from training.core.export_names import file_stem
from training.serving import adapter_bases, eviction
from training.serving.served_names import settings_of
from training.storage import disk_usage

State = ServedAdapter.State
_GOOD, _LIVE = (State.LOADED, State.ON_DEMAND), (State.WAITING, State.LOADING)
_MAKERS = ("model__made_by", "model__kept_checkpoint__run")
_TAGS = {**dict.fromkeys(_GOOD, "good"), **dict.fromkeys(_LIVE, "live"), State.FAILED: "bad"}


@dataclass(frozen=True)
class HotChild:
    """A child at its base's server. Seconds are counted from the end of its run."""

    model: LanguageModel
    row: ServedAdapter
    last_used: datetime | None
    seconds_to_loaded: float | None
    seconds_to_first_battle: float | None
    rank: int | None
    bytes: int

    @property
    def tag(self) -> str:
        return _TAGS.get(State(self.row.state), "")


@dataclass(frozen=True)
class Command:
    """What somebody types to have a model served, and for which server."""

    what: str
    line: str


def of_base(base: LanguageModel, person: Person) -> list[HotChild]:
    """Return the children of a base that this person may see, the newest first."""
    rows = ServedAdapter.objects.filter(base=base, model__in=models_seen(person)).select_related(*_MAKERS)
    return _hot_children(list(rows.order_by("-pk")))


def of_model(model: LanguageModel) -> HotChild | None:
    """Return how a child stands; None for a model that no run made."""
    row = ServedAdapter.objects.filter(model=model).select_related(*_MAKERS, "base").first()
    return _hot_children([row])[0] if row else None


def commands_for_children(base: LanguageModel) -> list[Command]:
    """Return how a server is started that takes the base's children while it runs."""
    server, folder = settings_of(base), _folder(base)
    return [
        Command(
            "vLLM",
            f"VLLM_ALLOW_RUNTIME_LORA_UPDATING=True vllm serve {folder} --enable-lora --max-lora-rank 64 "
            f"--max-loras {min(server.limit, 8)} --max-cpu-loras {server.limit}",
        ),
        Command(
            "transformers, with one copy of the base's weights",
            f"python -m training.recipes.serve --adapters {server.limit}",
        ),
        Command(
            "llama.cpp, with exported files of base and children",
            f"llama-server -m {shlex.quote(file_stem(base.name))}.gguf --lora CHILD-adapter-float32.gguf "
            "--lora-init-without-apply",
        ),
    ]


def commands_alone(model: LanguageModel) -> list[Command]:
    """Return how a model with weights of its own is served: by a server of its own, whose address it then gets."""
    folder, stem = _folder(model), shlex.quote(file_stem(model.name))
    return [
        Command("vLLM", f"vllm serve {folder} --served-model-name {stem}"),
        Command("transformers", f"transformers serve {folder}"),
        Command("llama.cpp, with the exported file", f"llama-server -m {stem}.gguf --alias {stem}"),
    ]


def seconds_to_first_battle(model: LanguageModel) -> float | None:
    """Return the seconds from the end of the run that made a model to its first battle; None before that."""
    return _seconds(_run_end(model), _first_battles([model.pk]).get(model.pk))


def _hot_children(rows: Sequence[ServedAdapter]) -> list[HotChild]:
    used, first_battles = eviction.last_used(rows), _first_battles([row.model_id for row in rows])
    return [
        HotChild(
            model=row.model,
            row=row,
            last_used=used[row.pk] if row.loaded_at else None,
            seconds_to_loaded=_seconds(_run_end(row.model), row.loaded_at),
            seconds_to_first_battle=_seconds(_run_end(row.model), first_battles.get(row.model_id)),
            rank=adapter_bases.rank_of(row.model),
            bytes=disk_usage.size_of(row.model.path) if row.model.path else 0,
        )
        for row in rows
    ]


def _first_battles(models: Sequence[int]) -> dict[int, datetime]:
    """Return when each had its first battle, by the model's number; nothing of those without one."""
    found: dict[int, datetime] = {}
    for side in ("model_a", "model_b"):
        oldest = (
            Battle.objects.filter(**{f"{side}__in": models}).order_by().values_list(side).annotate(Min("created_at"))
        )
        for model, moment in oldest:
            found[model] = min(moment, found.get(model, moment))
    return found


def _run_end(model: LanguageModel) -> datetime | None:
    run = model.maker
    return run.finished_at if run is not None else None


def _seconds(start: datetime | None, end: datetime | None) -> float | None:
    if start is None or end is None or end < start - timedelta(seconds=1):
        return None
    return max(0.0, (end - start).total_seconds())


def _folder(model: LanguageModel) -> str:
    return shlex.quote(str(model.path) if model.path else model.name)
