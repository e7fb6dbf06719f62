"""Take the steps from a model to its first trained child, up to training (`training_order`). Each calls the action that
stands for it elsewhere."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Any, BinaryIO

from annotate.core.chat_api.refusals import Kind
from annotate.core.errors import Refused
from annotate.core.permissions import require
from annotate.data.datasets import sampled_prompts
from annotate.data.imports.actions import Order, go_on, start_import
from annotate.language_models import endpoint_check, model_keys, registration
from annotate.language_models.actions import enter_arena, register_model, require_usable
from annotate.language_models.model_settings import sampling_for
from annotate.models import Dataset, DatasetFreeze, Import, LanguageModel, Project, Split, User
from common.texts import first_free, is_storable
from evaluation.first_model import facts
from evaluation.first_model.path_steps import TRAINING
from evaluation.models import FirstModel
from training.core.bundled_model import NAME as BUNDLED_NAME
from training.core.bundled_model import SOURCE as BUNDLED
from training.models import Run
from training.runs.ordering.actions import queue_run

COMPLETIONS_PER_PROMPT = 2  # the fewest that make a pair
SAMPLING = "sample"  # the kind of run that waits for its prompts
LONGEST_ANSWER = 256  # tokens: recipes learn from so many of an answer, and people read them
_CLEARED_WITH_MODEL: dict[str, Any] = {
    **{"sampling_run": None, "reward_run": None, "training_run": None, "problem": ""},
    **{"freeze": None, "once_frozen": None},
}


def import_weights(*, project: Project, source: str, by: User, name: str = "") -> Run:
    """Order the run that brings weights in: from a hub, models/, or `bundled`. Its model is the path's."""
    source = source.strip()
    run = queue_run(
        kind="import", project=project, name=name.strip() or free_name(_stem(source)), by=by, config={"source": source}
    )
    save_path(project, model=None, import_run=run, **_CLEARED_WITH_MODEL)
    return run


def register_endpoint(
    *, project: Project, endpoint: str, served_name: str, by: User, name: str = "", key: str = "", folder: str = ""
) -> tuple[LanguageModel, endpoint_check.Checked]:
    """Ask the endpoint one question, and register it as the path's model once it has answered. Without a served name
    the only one that it lists is taken.

    Asks over the network: not for a transaction. Raises Refused with what is wrong, by field, and then nothing is kept.
    """
    require(by, "research", project)
    endpoint, key = endpoint.strip().rstrip("/"), key.strip()
    if folder and not registration.is_below_models(folder):
        raise Refused(400, folder="Enter a folder below models/ in ASSAY_DATA, such as models/base.")
    if errors := registration.endpoint_errors(endpoint, served_name or "asked for below", key):
        raise Refused(400, **errors)
    if not by.is_staff:
        registration.require_not_own_server(endpoint)
    registration.require_reachable(endpoint)
    tried = LanguageModel(endpoint=endpoint, sealed_key=model_keys.seal(key, endpoint))
    tried.project = None if by.is_staff else project
    tried.served_name = served_name = served_name or _only_name_at(tried)
    tried.name = name = name.strip() or free_name(_stem(served_name))
    checked = endpoint_check.ask_one_question(tried, project)
    if not checked.is_ok:
        field = {"key": "key", "name": "served_name"}.get(str(checked.problem), "endpoint")
        offered = f" It lists {', '.join(checked.offered)}." if checked.offered else ""
        raise Refused(400, **{field: f"{checked.what}{offered} {checked.remedy}"})
    fields = {"name": name, "folder": folder, "endpoint": endpoint, "served_name": served_name, "key": key}
    model = register_model(**fields, by=by, project=project)
    choose_model(project=project, model=model, by=by)
    return model, checked


def _only_name_at(model: LanguageModel) -> str:
    """Return the name of the one model that its server lists. Raises Refused, 400, where it lists none, or several."""
    checked = endpoint_check.ask_for_names(model)
    if len(checked.offered) == 1:
        return checked.offered[0]
    if checked.offered:
        raise Refused(400, served_name=f"Enter one of the names that the server lists: {', '.join(checked.offered)}.")
    if checked.problem == Kind.KEY:
        raise Refused(400, key=f"{checked.what} {checked.remedy}")
    errors = {} if checked.is_ok else {"endpoint": f"{checked.what} {checked.remedy}"}
    raise Refused(400, **errors, served_name="Enter the name of the model on the server; the server lists no models.")


def choose_model(*, project: Project, model: LanguageModel, by: User) -> FirstModel:
    """Go on with a model that stands here: it enters the arena, where its child will meet it."""
    require(by, "research", project)
    require_usable(model, project)
    enter_arena(project=project, model=model, by=by)
    return save_path(project, model=model, import_run=None, **_CLEARED_WITH_MODEL)


def check_prompts(*, project: Project, file: BinaryIO, file_name: str, by: User, format: str = "auto") -> Import:
    """Keep a file and have it checked; nothing of it is taken before `take_prompts`."""
    import_ = start_import(
        project=project, file=file, file_name=file_name, order=Order(format=format, dry_run=True), by=by
    )
    save_path(project, prompts=import_)
    return import_


def take_prompts(*, project: Project, by: User) -> Import:
    """Take in the file that was checked."""
    require(by, "research", project)
    import_ = facts.path_of(project).prompts
    if import_ is None:
        raise Refused(409, file="There is no checked file; upload one first.")
    return go_on(import_, by=by)


def sample_answers(
    *,
    project: Project,
    by: User,
    completions_per_prompt: int = COMPLETIONS_PER_PROMPT,
    max_new_tokens: int | None = None,
    waits: bool = False,
) -> Run | None:
    """Freeze the train prompts and order a run that answers each so many times. Many prompts are frozen in the
    background, unless somebody `waits`; the run follows (`training_order.go_on_after_freezing`), and None is returned.
    """
    require(by, "research", project)
    path = facts.path_of(project)
    base = require_base(path)
    if facts.is_under_way(path.sampling_run):
        raise Refused(409, sampling="A run is already sampling answers; wait for its end, or cancel it.")
    require_not_freezing(path)
    length = answer_length(project, base) if max_new_tokens is None else max_new_tokens
    once = key_of_one_press(path, SAMPLING)
    config = {"completions_per_prompt": completions_per_prompt, "max_new_tokens": length}
    prompts = train_prompts(project, base, by, waits=waits)
    if isinstance(prompts, DatasetFreeze):
        save_path(project, freeze=prompts, once_frozen={"kind": SAMPLING, "config": config, "key": once})
        return None
    return order_sampling(path, base, prompts, by, config, once)


def order_sampling(
    path: FirstModel, base: LanguageModel, prompts: Dataset, by: User, config: dict[str, int], once: str
) -> Run:
    """Order the run that answers the prompts, under a key by which it is ordered once."""
    project = path.project
    name = first_free(
        f"{base.name[:80]}: answers", lambda name: project.runs.filter(kind="sample", name=name).exists(), "{} {}"
    )
    run = queue_run(
        kind="sample", project=project, name=name, by=by, parent=base, dataset=prompts, config=config,
        idempotency_key=once, is_step=True,
    )  # fmt: skip
    save_path(project, sampling_run=run, freeze=None, once_frozen=None)
    return run


def require_not_freezing(path: FirstModel) -> None:
    """Refuse what would come beside a freeze that a run waits for. Raises Refused, 409."""
    if facts.is_freezing(path):
        step = facts.freezing_step(path)
        what = "annotations" if step == TRAINING else "prompts"
        raise Refused(409, **{step: f"The {what} are being frozen; wait for the end, or cancel it."})


def answer_length(project: Project, base: LanguageModel) -> int:
    """Return the longest answer unless somebody says otherwise, in tokens."""
    return min(sampling_for(project, base)["max_new_tokens"], LONGEST_ANSWER)


def begin_again(*, project: Project, by: User, model: LanguageModel | None = None) -> FirstModel:
    """Begin the path anew, with the child or from the first step. Nothing that was made is changed."""
    require(by, "research", project)
    if model is not None:
        return choose_model(project=project, model=model, by=by)
    return save_path(project, model=None, import_run=None, prompts=None, **_CLEARED_WITH_MODEL)


def free_name(stem: str) -> str:
    """Return a name that no model has and no run has been promised."""

    def is_taken(name: str) -> bool:
        return LanguageModel.objects.filter(name=name).exists() or Run.objects.unfinished().filter(name=name).exists()

    return first_free(stem[:110], is_taken, "{}-{}")


def _stem(source: str) -> str:
    """Return what a model from there is called unless somebody says otherwise."""
    if source == BUNDLED:
        return BUNDLED_NAME
    stem = re.sub(r"\.gguf$", "", PurePosixPath(source).name, flags=re.IGNORECASE)
    return stem if stem and is_storable(stem) else "model"


def save_path(project: Project, **fields: Any) -> FirstModel:
    """Write where the project is on its path."""
    path, _ = FirstModel.objects.update_or_create(project=project, defaults=fields)
    return path


def key_of_one_press(path: FirstModel, kind: str) -> str:
    """Return a key under which a button pressed twice orders one run; another once a run of the project has ended."""
    ended = path.project.runs.exclude(pk__in=path.project.runs.unfinished()).count()
    return f"first-model:{path.pk}:{kind}:{ended}"


def require_base(path: FirstModel) -> LanguageModel:
    """Return the model that is sampled from and trained. Raises Refused, 409, where there is none yet."""
    base = facts.base_of(path)
    if base is None:
        raise Refused(409, model="There is no model yet: register one first.")
    return base


def train_prompts(project: Project, base: LanguageModel, by: User, *, waits: bool = False) -> Dataset | DatasetFreeze:
    """Return the latest frozen train prompts when they are still all of them, else frozen anew: many in the background,
    unless somebody `waits`."""
    if latest := sampled_prompts.latest_complete(project, Split.TRAIN):
        return latest
    name = sampled_prompts.free_name(project, f"train prompts for {base.name[:80]}")
    return sampled_prompts.freeze_all(project, Split.TRAIN, name=name, by=by, waits=waits)
