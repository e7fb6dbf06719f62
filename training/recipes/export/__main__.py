"""Write a model as files for other programs: `python -m training.recipes.export RUN_DIR`.

Writes `export/` in the run directory: one GGUF file, of the model or of its adapter alone, or the model's folder as an
uncompressed tar with its card; or uploads that folder to a hub. result.json names each file with its size and sha256.
Nothing is trained.

An adapter is merged with its base in float32, so that the files need nothing else, or leaves alone, as PEFT or as
llama.cpp has it. How much of what was trained a GGUF file keeps is measured and told (`merging`). Left out:
quantisations below eight bits, which llama.cpp's own tools make from these files.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from training.configs.export import ExportConfig
from training.core.export_names import ORIGIN_FILE, file_stem
from training.core.run_directory import RecipeFailure, Row, RunDirectory, RunSpec
from training.recipes.common import adapters
from training.recipes.common.children import FIDELITY
from training.recipes.common.entry import config_of, run_recipe
from training.recipes.export import gguf_adapter, gguf_file, merging
from training.recipes.reward.sequence_classifier import write_sequence_classifier

# What a model has, and a tokenizer, a reward model and a classifier of their own.
MARKS = ("config.json", "tokenizer.json", "reward.json", "classifier.json")


PRECISIONS = ("bfloat16", "float16", "float32")  # by size, the better one later


def main(run: RunDirectory, spec: RunSpec) -> None:
    config: ExportConfig = config_of(spec)
    source = Path(spec.parent)
    if not any((source / name).is_file() for name in MARKS):
        raise RecipeFailure("model_missing", f"There is no model in {source}.", "Import the model again.")
    about = next(iter(run.rows("card")), {"name": source.name, "licence": "", "readme": ""})
    if config.to == "gguf":
        run.finish(write_gguf(run, source, about, config))
        return
    complete_folder = run.path / ".whole.partial"  # the folder as it leaves
    shutil.rmtree(complete_folder, ignore_errors=True)
    run.progress("Gathering", 0, 1)
    facts = gather(source, complete_folder, about, config)
    leaving = complete_folder if complete_folder.is_dir() else source
    if config.to == "hub":
        outcome: Row = {"hub": push(run, leaving, about, config)}
    else:
        stem = file_stem(about["name"])
        outcome = {"files": leave(run, lambda to: archive(leaving, to / f"{stem}.tar", stem, about.get("readme", "")))}
    shutil.rmtree(complete_folder, ignore_errors=True)
    run.finish(outcome | facts)


def gather(source: Path, complete_folder: Path, about: Row, config: ExportConfig) -> Row:
    """Make `complete_folder` where the folder cannot leave as it is: an adapter merged with its base, or without it; a
    reward model as other tools read it."""
    if config.sequence_classifier:
        write_sequence_classifier(source, complete_folder)
        return {}
    if config.adapter:
        gguf_adapter.require_adapter(source, about["name"])
        merging.write_adapter_alone(source, complete_folder, about.get("base") or adapters.base_folder(source).name)
        return {}
    if not merging.has_adapters(source) and not merging.names_trunk(source):
        return {}
    merging.write_merged(source, complete_folder)
    if not merging.has_adapters(source):
        return {}
    return {"fidelity": {"cosine": merging.kept_cosine(source, lambda merged: merged), "precision": "float32"}}


def write_gguf(run: RunDirectory, source: Path, about: Row, config: ExportConfig) -> Row:
    if config.adapter:
        return write_gguf_adapter(run, source, about, config)
    run.progress("Choosing the precision", 0, 1)
    precision, cosine = precision_for(source, config.precision)
    target = f"{file_stem(about['name'])}-{precision}.gguf"
    licence = about.get("licence", "")
    files = leave(
        run, lambda to: gguf_file.write(source, to / target, dtype=precision, name=about["name"], licence=licence)
    )
    if cosine is None:
        return {"files": files}
    print(f"In {precision}, the file keeps the trained update with a cosine of {cosine:.5f}.")
    return {"files": files, "fidelity": {"cosine": cosine, "precision": precision}}


def write_gguf_adapter(run: RunDirectory, source: Path, about: Row, config: ExportConfig) -> Row:
    """Write the adapter alone. `auto` is float32: no program reads it wrongly, and an adapter is small."""
    gguf_adapter.require_adapter(source, about["name"])
    precision = "float32" if config.precision == "auto" else config.precision
    target = f"{file_stem(about['name'])}-adapter-{precision}.gguf"
    cosines: list[float] = []

    def make(to: Path) -> None:
        licence = about.get("licence", "")
        cosines.append(gguf_adapter.write(source, to / target, dtype=precision, name=about["name"], licence=licence))

    return {"files": leave(run, make), "fidelity": {"cosine": cosines[0], "precision": precision}}


def precision_for(source: Path, precision_option: str) -> tuple[str, float | None]:
    """Return the precision of the weights and the cosine of the update that it keeps: None where nothing was merged.

    `auto` is the smallest that keeps what was trained; for full weights, that in which they are stored.
    """
    if not adapters.is_adapter(source):
        stored = str(merging.stored_dtype(source)).removeprefix("torch.")
        return (stored if stored in PRECISIONS else "float32") if precision_option == "auto" else precision_option, None
    kept_cosine = 0.0
    for precision in PRECISIONS if precision_option == "auto" else (precision_option,):
        kept_cosine = merging.kept_cosine(source, functools.partial(gguf_file.rounded, dtype=precision))
        if kept_cosine >= FIDELITY:
            break
    return precision, kept_cosine


def leave(run: RunDirectory, make: Callable[[Path], object]) -> list[Row]:
    """Have `make` fill a folder, which becomes `export/` at once; return its files, described."""
    partial, final = run.path / ".export.partial", run.path / "export"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    run.progress("Writing", 0, 1)
    make(partial)
    run.progress("Hashing", 0, 1)
    files = [described(path) for path in sorted(partial.iterdir())]
    shutil.rmtree(final, ignore_errors=True)
    partial.rename(final)
    run.progress("Hashing", 1, 1)
    return files


def archive(source: Path, target: Path, stem: str, readme: str) -> None:
    """Archive the folder as it is, with its card as README.md. Not compressed: weights hardly shrink."""
    with tarfile.open(target, "w") as tar:
        for path in sorted(p for p in source.rglob("*") if p.is_file() and p.name != ORIGIN_FILE):
            tar.add(path, f"{stem}/{path.relative_to(source)}", filter=_nobody)
        if readme:
            card = target.with_name("README.md")
            card.write_text(readme, encoding="utf-8")
            tar.add(card, f"{stem}/README.md", filter=_nobody)
            card.unlink()


def _nobody(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Clear a member's owner: the same folder gives the same archive, and tells nothing of who made it."""
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
            "Start it with HF_TOKEN set to a token with write access, then resume.",
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
            repo_id=config.repository,
            folder_path=source,
            commit_message=f"{about['name']}, from Assay",
            ignore_patterns=[ORIGIN_FILE, f"*/{ORIGIN_FILE}"],
        )
    except (HfHubHTTPError, OSError) as error:
        raise RecipeFailure(
            "hub_unreachable",
            f"The hub refused the upload: {json.dumps(str(error))[:300]}",
            "Check the network, HF_ENDPOINT and the token's rights, then resume: uploaded files are not sent again.",
        ) from error
    return {"repository": config.repository, "commit": commit.oid}


if __name__ == "__main__":
    run_recipe(main)
