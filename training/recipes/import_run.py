"""Weights from elsewhere become a model: `python -m training.recipes.import_run RUN_DIR`.

data/source.jsonl says where they are: a file or folder on this machine, or a name on the hub. What is read, and what is
refused, is told in `training.recipes.import_weights`, which `manage.py import_model` uses as well. Of the hub only
texts and safetensors are fetched: no code and no pickle. An adapter from there is refused, for it names the place of
its base, and that could be any folder of this machine.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from training.configs import ImportConfig
from training.core.run_directory import RecipeFailure, RunDirectory, RunSpec
from training.recipes.common.entry import config_of, run_recipe
from training.recipes.import_weights import import_weights

_FILES = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja", "*.tiktoken", "README.md"]


def main(run: RunDirectory, spec: RunSpec) -> None:
    config: ImportConfig = config_of(spec)
    sources = run.rows("source")
    if not sources:
        raise RecipeFailure("no_source", "The run does not say where the weights are.", "Queue the import again.")
    run.progress("reading the weights", 0, 1)
    partial = run.begin_model()
    shutil.rmtree(partial)  # it makes its folder itself, whole or not at all
    source = sources[0]["source"]
    facts = import_weights(_fetched(source) if sources[0].get("is_on_hub") else source, partial)
    run.commit_model()
    run.progress("reading the weights", 1, 1)
    run.finish(
        {
            "architecture": facts["architecture"],
            "parameters": facts["parameters"],
            "hash": facts["hash"],
            "licence": config.licence.strip() or facts["licence"],
            "origin": config.source.strip(),
        }
    )


def _fetched(name: str) -> str:
    """Return the folder that holds what the hub has under this name. Raises RecipeFailure."""
    import huggingface_hub

    try:
        folder = huggingface_hub.snapshot_download(name, allow_patterns=_FILES)
    except Exception as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise RecipeFailure(
            "hub",
            f"{name} cannot be fetched from the hub: {lines[0][:300].rstrip('.')}.",
            "Check the name, and that the worker reaches the hub; a gated model needs its HF_TOKEN.",
        ) from error
    if (Path(folder) / "adapter_config.json").is_file():
        raise RecipeFailure(
            "hub_adapter",
            f"{name} is an adapter, and says by itself where its base lies.",
            "Import the base, or have whoever runs this site import the adapter (manage.py import_model).",
        )
    return folder


if __name__ == "__main__":
    run_recipe(main)
