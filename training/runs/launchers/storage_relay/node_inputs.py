"""What a node needs to begin an attempt: the run's own directory as the last attempt stored it, what its worker laid,
and the models and datasets that these name. Fetched into the node's own data folder, where paths are its own."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from common import atomic_files
from common.artefacts import covering
from common.artefacts.artefact_store import ArtefactStore, Rules
from common.artefacts.storage_problems import NotStored
from training.core import adapter_base, run_artefact
from training.core.run_directory import RunDirectory
from training.runs.launchers.storage_relay import node_cache

LIST = "node/inputs.json"  # in the worker's run directory
_LAID = ("identity", "config.json", "amendments.json", "data")
INPUTS_RULES = Rules(
    is_part=lambda path: path == LIST or path.partition("/")[0] in _LAID,
    is_own=lambda path: True,
)
_OF_PATHS = ("folders", "source")  # rows that a worker lays, which name files
_OF_EARLIER = ("failure.json", "paused.json")  # what an earlier attempt died of, or waited for


@dataclass(frozen=True)
class Inputs:
    """What lies below the data folder of the worker, and is to be below that of the node.

    `folders` are models, `below` folders of which all artefacts are wanted, and `rows` which dataset's files lie where
    in the run directory.
    """

    data_folder: str
    folders: list[str] = field(default_factory=list)
    below: list[str] = field(default_factory=list)
    rows: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, directory: Path) -> Inputs:
        return cls(**json.loads((directory / LIST).read_text(encoding="utf-8")))

    def write(self, directory: Path) -> None:
        (directory / LIST).parent.mkdir(parents=True, exist_ok=True)
        atomic_files.write_text(directory / LIST, json.dumps(asdict(self)))


def inputs_name(box_name: str) -> str:
    """Return the artefact of a run's inputs, by the name of its messages."""
    return f"inputs/{box_name.rpartition('/')[2]}"


class NodeFolder:
    """The data folder of a node, and the directory of one run in it."""

    def __init__(self, store: ArtefactStore, root: Path, box_name: str, place: str = "") -> None:
        self._store, self.root, self.is_of_several = store, root, bool(place)
        self._inputs_name = inputs_name(box_name)
        self.name = f"runs/{run_name(box_name)}"  # of the run's artefact
        # Not where that would be brought: a child's node has the model of this run there, and nothing else of it.
        self.directory = root / "runs" / f"{box_name.rpartition('/')[2]}{place}"

    def bring(self) -> None:
        """Lay the directory for the recipe. Raises StorageProblem; what was brought stays for the next try."""
        coming = self.root / f".inputs.{uuid.uuid4().hex}"
        try:
            self._store.fetch(self._inputs_name, coming)
            identity = (coming / "identity").read_text(encoding="utf-8")
            self._bring_run(identity)
            self._lay(coming)
        finally:
            shutil.rmtree(coming, ignore_errors=True)

    def _bring_run(self, identity: str) -> None:
        """Fetch the run's directory as it is stored, where it went on for longer than what is here. All parts of a run
        over several nodes begin with what is stored."""
        standing = self.directory / "identity"
        is_here = standing.exists() and standing.read_text(encoding="utf-8") == identity and not self.is_of_several
        if not is_here:
            self._empty()
        try:
            manifest = self._store.manifest(self.name)
        except NotStored:
            return
        kept = (RunDirectory(self.directory).kept_step() or 0) if is_here else -1
        if not run_artefact.is_of(manifest, identity) or kept >= run_artefact.newest_step(manifest):
            return
        coming = self.root / f".run.{uuid.uuid4().hex}"
        try:
            self._store.fetch(self.name, coming)
            self._empty()
            for path in coming.iterdir():
                path.rename(self.directory / path.name)
        finally:
            shutil.rmtree(coming, ignore_errors=True)

    def _empty(self) -> None:
        """Delete what is in the directory but for what this process and its lock need."""
        for path in self.directory.iterdir():
            if path.name in run_artefact.OF_ONE_HOST:
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()

    def _lay(self, coming: Path) -> None:
        inputs = Inputs.read(coming)
        for name in _OF_EARLIER:
            (self.directory / name).unlink(missing_ok=True)
        for folder in inputs.below:
            for name in self._store.names(folder):
                self._bring(name)
        for folder in inputs.folders:
            self._bring(folder)
            self._bring_base(self.root / folder)
        for place, dataset in inputs.rows.items():
            self._link_rows(dataset, self.directory / place)
        move_rows(coming / "data", self.directory / "data", inputs.data_folder, str(self.root))
        for name in ("amendments.json", "identity"):
            if (coming / name).exists():
                (coming / name).replace(self.directory / name)
        config = moved(json.loads((coming / "config.json").read_text("utf-8")), inputs.data_folder, str(self.root))
        text = json.dumps(config, indent=2, ensure_ascii=False)
        atomic_files.write_text(self.directory / "config.json", f"{text}\n")

    def _link_rows(self, dataset: str, target: Path) -> None:
        """Bring a dataset, and its files into the run directory, by hard links where the file system has them."""
        self._bring(dataset)
        files = sorted((self.root / dataset).glob("*.jsonl"))
        if not files:
            raise NotStored(dataset, self._store.address)
        target.mkdir(parents=True, exist_ok=True)
        for file in files:
            (target / file.name).unlink(missing_ok=True)
            try:
                os.link(file, target / file.name)
            except OSError:
                shutil.copy2(file, target / file.name)

    def _bring_base(self, folder: Path) -> None:
        """Fetch the full weights that an adapter's folder names."""
        if not adapter_base.is_adapter(folder) or adapter_base.find_base(folder) is not None:
            return
        about = adapter_base.read_about(folder)
        for candidate in adapter_base.candidates(folder, about.get("folder", ""), about.get("was", "")):
            path = Path(os.path.normpath(candidate))
            if path != folder and path.is_relative_to(self.root) and path != self.root:
                name = path.relative_to(self.root).as_posix()
                if self._bring(name):
                    return

    def _bring(self, name: str) -> bool:
        """Fetch what has that name where it is not here; return whether it is here now."""
        is_here = covering.bring(self._store, self.root, name)
        node_cache.note_use(self.root, name)
        return is_here


def moved(value: Any, before: str, after: str) -> Any:
    """Return a value with paths below one data folder as paths below another."""
    if isinstance(value, str) and (value == before or value.startswith(f"{before}/")):
        return f"{after}{value.removeprefix(before)}"
    if isinstance(value, Mapping):
        return {name: moved(inner, before, after) for name, inner in value.items()}
    return [moved(inner, before, after) for inner in value] if isinstance(value, list) else value


def move_rows(source: Path, target: Path, before: str, after: str) -> None:
    """Move the rows that a worker laid to another folder; those of paths as paths below another data folder."""
    for path in sorted(source.rglob("*.jsonl")):
        place = target / path.relative_to(source)
        place.parent.mkdir(parents=True, exist_ok=True)
        if path.stem in _OF_PATHS:
            rows = [moved(json.loads(line), before, after) for line in path.read_text(encoding="utf-8").splitlines()]
            atomic_files.write_text(place, "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows))
        else:
            path.replace(place)


def box_name(directory: Path, identity: str = "") -> str:
    """Return the name of a run's messages in the storage, by what its directory says it is: the run 7 of another
    database has others."""
    identity = identity or (directory / "identity").read_text(encoding="utf-8")
    return f"nodes/{directory.name}-{hashlib.sha256(identity.encode()).hexdigest()[:12]}"


def run_name(box_name: str) -> str:
    """Return the name of a run's directory, by that of its messages: `nodes/000012-1a2b` are those of `000012`."""
    return box_name.rpartition("/")[2].partition("-")[0]
