"""The models that a run asks over the network: where and how for its directory, and their keys for its recipe alone."""

from __future__ import annotations

from types import ModuleType

from django.conf import settings

from annotate.language_models import model_keys, model_server
from annotate.models import LanguageModel
from training.core.kinds import KINDS
from training.core.run_directory import RecipeFailure, Row, RunDirectory
from training.models import Run


def endpoints_of(run: Run) -> dict[str, Row]:
    """Return what the recipe is to know of each, by role: all but the key."""
    return {role: _described(model) for role, model in KINDS[run.kind].asked_models(run).items()}


def secrets_of(run: Run) -> dict[str, tuple[str, str]]:
    """Return address and key of each that has one, by role. Raises RecipeFailure.

    The model is read anew, and may have moved since its address went into the directory: the recipe compares."""
    secrets: dict[str, tuple[str, str]] = {}
    for role, model in KINDS[run.kind].asked_models(run).items():
        try:
            key = model_keys.key_of(model)
        except model_keys.KeyLost as error:
            raise RecipeFailure("endpoint_key", str(error), "Enter the key again, then resume this run.") from error
        secrets |= {role: (model.server_url, key)} if key else {}
    return secrets


def submit(launcher: ModuleType, run: Run, directory: RunDirectory) -> str:
    """Start the run's recipe and return its handle. Keys go to it by the launcher, and not by the directory.

    Raises RecipeFailure where the launcher hands none down."""
    module, secrets = KINDS[run.kind].module_of(run), secrets_of(run)
    if not secrets:
        return str(launcher.submit(directory.path, module))
    if not getattr(launcher, "TAKES_SECRETS", False):
        raise RecipeFailure(
            "launcher_secrets",
            f"The run needs the key of an endpoint, and the launcher {settings.RUN_LAUNCHER} cannot pass keys.",
            "The operator must run a worker with the launcher training.runs.launchers.local.",
        )
    return str(launcher.submit(directory.path, module, secrets))


def _described(model: LanguageModel) -> Row:
    prices = {"prompt_price": model.prompt_price, "completion_price": model.completion_price}
    return {
        "name": model.name,
        "url": model.server_url,
        "model": model.server_name,
        "template_options": model.template_options,
        "request_fields": model.request_fields,
        "concurrency": model.concurrency,
        "allowed": list(model_server.allowed_for(model)),
        **{name: None if price is None else str(price) for name, price in prices.items()},
    }
