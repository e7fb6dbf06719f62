"""Weights from elsewhere become a model: `python -m training.recipes.import_run RUN_DIR`.

data/source.jsonl says where they are: a file or folder on this machine, or a name on the hub. What is read, and what is
refused, is told in `training.recipes.import_weights`, which `manage.py import_model` uses as well. Of the hub only
texts and safetensors are fetched: no code and no pickle. An adapter from there is refused, for it names the place of
its base, and that could be any folder of this machine.
"""

from __future__ import annotations

import os

from common.texts import first_line
from training.configs import ImportConfig
from training.core.adapter_base import is_adapter
from training.core.run_directory import RecipeFailure, RunDirectory, RunSpec
from training.recipes.common.entry import config_of, run_recipe
from training.recipes.import_weights import write_model

_FILES = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja", "*.tiktoken", "README.md"]


def main(run: RunDirectory, spec: RunSpec) -> None:
    config: ImportConfig = config_of(spec)
    sources = run.rows("source")
    if not sources:
        raise RecipeFailure("no_source", "The run has no source of weights.", "Queue the import again.")
    run.progress("reading the weights", 0, 1)
    source, most_bytes = sources[0]["source"], sources[0].get("most_bytes", 0)
    location = _fetched(source, most_bytes) if sources[0].get("is_on_hub") else source
    facts = write_model(location, run.begin_model(), run.model)
    run.commit_model()
    run.progress("reading the weights", 1, 1)
    run.finish(
        {
            "architecture": facts["architecture"],
            "parameters": facts["parameters"],
            "hash": facts["hash"],
            "licence": config.licence.strip() or facts["licence"],
            "origin": facts.get("origin") or config.source.strip(),
            **({"model_kind": facts["model_kind"]} if "model_kind" in facts else {}),
        }
    )


def _fetched(name: str, most_bytes: int) -> str:
    """Return the folder that holds what the hub has under this name; 0 bytes is no limit. Raises RecipeFailure.

    The operator's token is in the environment only where the operator names the repository."""
    import huggingface_hub
    from huggingface_hub.utils import filter_repo_objects

    token = os.environ.get("HF_TOKEN") or False
    try:
        facts = huggingface_hub.HfApi().model_info(name, files_metadata=True, token=token)
        files = filter_repo_objects(facts.siblings or [], allow_patterns=_FILES, key=lambda file: file.rfilename)
        _require_room(name, sum(file.size or 0 for file in files), most_bytes)
        folder = huggingface_hub.snapshot_download(name, revision=facts.sha, allow_patterns=_FILES, token=token)
    except RecipeFailure:
        raise
    except Exception as error:
        raise RecipeFailure(
            "hub",
            f"{name} cannot be fetched from the hub: {first_line(error).rstrip('.')}.",
            "Check the name, and that the worker reaches the hub; for a gated model the operator must set HF_TOKEN, "
            "and list it in ASSAY_HUB_SOURCES.",
        ) from error
    if is_adapter(folder):
        raise RecipeFailure(
            "hub_adapter",
            f"{name} is an adapter with its own reference to a base.",
            "Import the base, or ask the operator of this site to import the adapter (manage.py import_model).",
        )
    return folder


def _require_room(name: str, size: int, most_bytes: int) -> None:
    if most_bytes and size > most_bytes:
        raise RecipeFailure(
            "too_large",
            f"{name} holds {size / 10**9:.1f} GB; an import may fetch at most {most_bytes / 10**9:g} GB.",
            "Import a smaller model, or ask the operator to raise ASSAY_IMPORT_GB and queue the import again.",
        )


if __name__ == "__main__":
    run_recipe(main)
