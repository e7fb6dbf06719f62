"""Refuse folders of models whose files name others beside them: whoever reads the model would read those, too."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from common.texts import first_line
from training.core.run_directory import RecipeFailure


def require_own_files(folder: Path, source: str) -> None:
    """Raises RecipeFailure where files of a model that is no adapter name others beside its folder."""
    require_own_shards(folder, source)
    require_own_vocabulary(folder, source)


def require_own_shards(folder: Path, source: str) -> None:
    """Raises RecipeFailure where an index names weights beside the folder: transformers would read any file of this
    machine."""
    for index in folder.rglob("*.index.json") if folder.is_dir() else ():  # config.json may name one further below
        shards = _json_of(index, source).get("weight_map")  # an index of something else has none
        named = shards.values() if isinstance(shards, dict) else ()
        if elsewhere := sorted({str(shard) for shard in named if not _is_bare(shard)}):
            raise RecipeFailure(
                "files_elsewhere",
                f"{index.name} of {source} refers to weights outside its folder: {elsewhere[0][:300]}.",
                "Put all files of the model into one folder, and refer to them without a path.",
            )


def require_own_vocabulary(folder: Path, source: str) -> None:
    """Raises RecipeFailure where files of a tokenizer give it arguments by which transformers would read another file
    of this machine, and its lines be tokens: a vocabulary by its name. Their own files need no name."""
    config, tokens = (_json_of(folder / name, source) for name in ("tokenizer_config.json", "special_tokens_map.json"))
    named = [f"{field} {config[field]}" for field in ("vocab", "merges") if isinstance(config.get(field), str)]
    named += [f"init_inputs {config['init_inputs']}"] if config.get("init_inputs") else []
    others = {field: value for field, value in tokens.items() if not field.endswith(("_token", "_tokens"))}
    named += [f"{field} {value}" for field, value in others.items() if not isinstance(value, int | float | None)]
    if named:
        raise RecipeFailure(
            "files_elsewhere",
            f"The tokenizer of {source} names a file as its vocabulary: {named[0][:300]}.",
            "Save it again with a current transformers: its vocabulary belongs into tokenizer.json.",
        )


def _json_of(path: Path, source: str) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except (ValueError, RecursionError) as error:
        problem = f"{path.name} of {source} is no JSON: {first_line(error).rstrip('.')}."
        raise RecipeFailure("not_a_model", problem, "Save the model again.") from error
    return found if isinstance(found, dict) else {}


def _is_bare(shard: Any) -> bool:
    return isinstance(shard, str) and shard not in ("", ".", "..") and Path(shard).name == shard
