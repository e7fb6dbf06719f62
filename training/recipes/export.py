"""A model as files for other programs: `python -m training.recipes.export RUN_DIR`.

Writes `export/` in the run directory: one GGUF file, or the model's folder as an uncompressed tar with its card; or
uploads that folder to a hub. result.json names each file with its size and sha256. Nothing is trained. Left out:
quantisations below eight bits, which llama.cpp's own tools make from these files.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tarfile
from pathlib import Path
from typing import Any

from training.configs.export import ExportConfig
from training.recipes import gguf_file
from training.recipes.entry import config_of, run_recipe
from training.run_directory import RecipeFailure, Row, RunDirectory, RunSpec

# What a model has, and a tokenizer, a reward model and a classifier of their own.
MARKS = ("config.json", "tokenizer.json", "reward.json", "classifier.json")


def main(run: RunDirectory, spec: RunSpec) -> None:
    config: ExportConfig = config_of(spec)
    source = Path(spec.parent)
    if not any((source / name).is_file() for name in MARKS):
        raise RecipeFailure("model_missing", f"There is no model in {source}.", "Import the model again.")
    about = next(iter(run.rows("card")), {"name": source.name, "licence": "", "readme": ""})
    if config.to == "hub":
        run.finish({"hub": push(run, source, about, config)})
        return
    partial, final = run.path / ".export.partial", run.path / "export"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    run.progress("Writing", 0, 1)
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", about["name"]).strip("-.") or "model"
    if config.to == "gguf":
        target = partial / f"{stem}-{config.precision}.gguf"
        gguf_file.write(source, target, dtype=config.precision, name=about["name"], licence=about.get("licence", ""))
    else:
        archive(source, partial / f"{stem}.tar", stem, about.get("readme", ""))
    run.progress("Hashing", 0, 1)
    files = [described(path) for path in sorted(partial.iterdir())]
    shutil.rmtree(final, ignore_errors=True)
    partial.rename(final)
    run.progress("Hashing", 1, 1)
    run.finish({"files": files})


def archive(source: Path, target: Path, stem: str, readme: str) -> None:
    """The folder as it is, and its card as README.md. Not compressed: weights hardly shrink."""
    with tarfile.open(target, "w") as tar:
        for path in sorted(p for p in source.rglob("*") if p.is_file()):
            tar.add(path, f"{stem}/{path.relative_to(source)}", filter=_nobody)
        if readme:
            card = target.with_name("README.md")
            card.write_text(readme, encoding="utf-8")
            tar.add(card, f"{stem}/README.md", filter=_nobody)
            card.unlink()


def _nobody(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """The same folder gives the same archive, and tells nothing of who made it."""
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mtime = 0
    return member


def described(path: Path) -> Row:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            digest.update(block)
    return {"name": path.name, "bytes": path.stat().st_size, "sha256": digest.hexdigest()}


def push(run: RunDirectory, source: Path, about: dict[str, Any], config: ExportConfig) -> Row:
    """Upload the folder with its card. A second attempt uploads only what is not there yet."""
    import huggingface_hub  # only whoever uploads needs it
    from huggingface_hub.errors import HfHubHTTPError

    if not os.environ.get("HF_TOKEN"):
        raise RecipeFailure(
            "no_token",
            "The worker has no HF_TOKEN.",
            "Start it with HF_TOKEN set to a token that may write, then resume.",
        )
    run.progress("Uploading", 0, 1)
    hub = huggingface_hub.HfApi()
    try:
        hub.create_repo(config.repository, private=config.private, exist_ok=True)
        if about.get("readme"):
            hub.upload_file(
                path_or_fileobj=about["readme"].encode(), path_in_repo="README.md", repo_id=config.repository
            )
        commit = hub.upload_folder(
            repo_id=config.repository, folder_path=source, commit_message=f"{about['name']}, from Assay"
        )
    except (HfHubHTTPError, OSError) as error:
        raise RecipeFailure(
            "hub_unreachable",
            f"The hub did not take it: {json.dumps(str(error))[:300]}",
            "Check the network, HF_ENDPOINT and what the token may do, then resume: what is there is not sent again.",
        ) from error
    return {"repository": config.repository, "commit": commit.oid}


if __name__ == "__main__":
    run_recipe(main)
