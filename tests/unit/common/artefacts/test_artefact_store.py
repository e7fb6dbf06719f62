"""Artefacts in a storage: whole or not there, refused by their hash when changed, and sent once."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from common.artefacts.artefact_store import ArtefactStore, Rules
from common.artefacts.file_systems import FileSystem
from common.artefacts.storage_problems import Damaged, NotStored, StorageProblem, Unreachable, Unstable


class Counting(FileSystem):
    """A storage that counts what is written to it, and fails when it is told to."""

    def __init__(self, address: str, **options) -> None:
        super().__init__(address, sleep=lambda _: None, **options)
        self.written: list[str] = []
        self.dies_before = ""

    def write(self, name, blocks):
        if self.dies_before and name.startswith(self.dies_before):
            raise KeyboardInterrupt
        super().write(name, blocks)
        self.written.append(name)


@pytest.fixture(params=["folder", "memory"])
def storage(request, tmp_path) -> Counting:
    (tmp_path / "storage").mkdir()
    address = {"folder": str(tmp_path / "storage"), "memory": f"memory://{uuid.uuid4().hex}"}[request.param]
    return Counting(address)


@pytest.fixture
def model(tmp_path) -> Path:
    folder = tmp_path / "here" / "model"
    (folder / "deep").mkdir(parents=True)
    (folder / "weights.bin").write_bytes(b"w" * 5_000_000)
    (folder / "deep" / "config.json").write_text("{}")
    (folder / ".weights.partial").write_text("half")
    return folder


def tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_sizes_are_those_of_the_manifests_that_stand(storage, model, monkeypatch):
    store = ArtefactStore(storage)
    store.put("models/a", model)
    store.put("runs/1", model / "weights.bin")
    assert store.sizes("models") == {"models/a": {"": 5_000_000, "deep": 2}}
    assert store.sizes() == {"models/a": {"": 5_000_000, "deep": 2}, "runs/1": {"": 5_000_000}}
    with monkeypatch.context() as patched:
        patched.setattr(storage, "read", lambda name: pytest.fail(f"{name} has not changed"))
        assert len(store.sizes()) == 2
    (model / "deep" / "config.json").write_text('{"a": 1}')
    ArtefactStore(storage).put("models/a", model)
    store.delete("runs/1")
    assert store.sizes() == {"models/a": {"": 5_000_000, "deep": 8}}


def test_a_folder_comes_back_as_it_was_without_what_is_hidden(storage, model, tmp_path):
    manifest = ArtefactStore(storage).put("models/a", model)
    assert manifest.size == 5_000_002
    target = tmp_path / "there" / "model"
    ArtefactStore(storage).fetch("models/a", target)
    assert tree(target) == {"weights.bin": b"w" * 5_000_000, "deep/config.json": b"{}"}
    assert [path.name for path in target.parent.iterdir()] == ["model"]
    assert ArtefactStore(storage).names("models") == ["models/a"]


def test_one_file_is_an_artefact_too_and_a_folder_of_one_comes_alone(storage, model, tmp_path):
    store = ArtefactStore(storage)
    store.put("imports/x", model / "weights.bin")
    store.fetch("imports/x", tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == b"w" * 5_000_000
    store.put("runs/1", model.parent)
    store.fetch("runs/1", tmp_path / "deep", "model/deep")
    assert tree(tmp_path / "deep") == {"config.json": b"{}"}
    with pytest.raises(NotStored):
        store.fetch("runs/1", tmp_path / "none", "model/none")


def test_content_that_is_there_is_not_sent_again(storage, model):
    ArtefactStore(storage).put("models/a", model)
    storage.written.clear()
    ArtefactStore(storage).put("models/a", model)
    assert storage.written == []
    ArtefactStore(storage).put("models/b", model)
    assert storage.written == ["manifests/models/b.json"]


def test_an_artefact_whose_putter_died_does_not_exist_and_is_finished_by_the_next(storage, model, tmp_path):
    storage.dies_before = "manifests"
    with pytest.raises(KeyboardInterrupt):
        ArtefactStore(storage).put("models/a", model)
    assert not ArtefactStore(storage).has("models/a")
    with pytest.raises(NotStored, match="store_artefacts"):
        ArtefactStore(storage).fetch("models/a", tmp_path / "a")
    storage.dies_before = ""
    storage.written.clear()
    ArtefactStore(storage).put("models/a", model)
    assert storage.written == ["manifests/models/a.json"], "the blobs were there"


def test_a_file_that_is_cut_off_on_its_way_leaves_nothing(storage):
    def half():
        yield b"half"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        storage.write("blobs/aa/x", half)
    assert storage.size_of("blobs/aa/x") is None and storage.names("blobs") == []


@pytest.mark.parametrize(
    ("bytes_there", "words"),
    [(b"w" * 4_999_999, "has 4,999,999 bytes where 5,000,000"), (b"v" * 5_000_000, "does not have the hash")],
)
def test_a_truncated_or_changed_file_is_refused_in_words(storage, model, tmp_path, bytes_there, words):
    store = ArtefactStore(storage)
    entry = store.put("models/a", model).entry("weights.bin")
    storage.write(entry.blob, lambda: iter([bytes_there]))
    with pytest.raises(Damaged, match=rf"models/a in the storage is damaged: weights.bin {words}") as refused:
        store.fetch("models/a", tmp_path / "a")
    assert "store_artefacts --again" in refused.value.remedy
    assert not (tmp_path / "a").exists() and not list(tmp_path.glob(".a.*"))
    with pytest.raises(Damaged):
        store.verify("models/a")
    ArtefactStore(storage).put("models/a", model, is_trusting=False)
    assert store.verify("models/a").size == 5_000_002


def test_a_blob_that_was_truncated_is_sent_again_and_one_that_is_gone_is_told(storage, model, tmp_path):
    store = ArtefactStore(storage)
    entry = store.put("models/a", model).entry("weights.bin")
    storage.delete(entry.blob)
    with pytest.raises(Damaged, match="is gone"):
        store.fetch("models/a", tmp_path / "a")
    storage.write(entry.blob, lambda: iter([b"w"]))
    store.put("models/a", model)
    store.verify("models/a")


@pytest.mark.parametrize("change", [lambda text: text[:-9], lambda text: text.replace(b"5000000", b"5000001")])
def test_a_truncated_or_changed_manifest_is_refused_and_can_be_put_again(storage, model, tmp_path, change):
    store = ArtefactStore(storage)
    store.put("models/a", model)
    changed = change(storage.read("manifests/models/a.json"))
    storage.write("manifests/models/a.json", lambda: iter([changed]))
    with pytest.raises(Damaged, match="its manifest"):
        store.fetch("models/a", tmp_path / "a")
    store.put("models/a", model)
    store.verify("models/a")


def test_a_manifest_names_no_place_outside_its_artefact(storage, model, tmp_path):
    store = ArtefactStore(storage)
    manifest = store.put("models/a", model)
    outside = type(manifest)("models/a", (type(manifest.entries[0])("../../evil", 1, "a" * 64),))
    storage.write("manifests/models/a.json", lambda: iter([outside.to_bytes()]))
    with pytest.raises(Damaged):
        store.fetch("models/a", tmp_path / "a")


def test_own_files_go_when_a_later_manifest_names_them_no_more_and_shared_ones_stay(storage, tmp_path):
    run = tmp_path / "run"
    rules = Rules(is_part=lambda path: path != "lock", is_own=lambda path: path.startswith("checkpoints/"))
    store = ArtefactStore(storage)
    (run / "checkpoints" / "step-2").mkdir(parents=True)
    (run / "checkpoints" / "step-2" / "state").write_text("two")
    (run / "log.txt").write_text("1")
    (run / "lock").touch()
    first = store.put("runs/1", run, rules)
    assert [entry.path for entry in first.entries] == ["checkpoints/step-2/state", "log.txt"]
    (run / "checkpoints" / "step-2").rename(run / "checkpoints" / "step-4")
    (run / "checkpoints" / "step-4" / "state").write_text("four")
    second = store.put("runs/1", run, rules)
    assert storage.names("own") == [second.entry("checkpoints/step-4/state").blob]
    assert first.entry("log.txt") == second.entry("log.txt") and storage.names("blobs")
    store.verify("runs/1")
    store.delete("runs/1")
    assert storage.names("own") == [] and store.names() == []


def test_an_artefact_of_its_own_pool_is_as_young_as_its_last_put(storage, model):
    store, rules = ArtefactStore(storage), Rules(is_own=lambda path: True)
    store.put("imports/x", model, rules)
    first = store.stored_at("imports/x")
    storage.written.clear()
    store.put("imports/x", model, rules)
    assert storage.written == ["manifests/imports/x.json"] and store.stored_at("imports/x") >= first


def test_what_grows_is_stored_as_far_as_it_was(storage, tmp_path, monkeypatch):
    log = tmp_path / "run" / "log.txt"
    log.parent.mkdir()
    log.write_text("one\n")
    write = storage.write

    def and_grow(name, blocks):
        with log.open("a") as file:
            file.write("two\n")
        write(name, blocks)

    monkeypatch.setattr(storage, "write", and_grow)
    store = ArtefactStore(storage)
    store.put("runs/1", log.parent)
    store.fetch("runs/1", tmp_path / "back")
    assert (tmp_path / "back" / "log.txt").read_text() == "one\n"


def test_what_changes_at_each_look_is_not_stored_as_something_else(storage, tmp_path, monkeypatch):
    file = tmp_path / "run" / "state"
    file.parent.mkdir()
    file.write_text("0")
    write, numbers = storage.write, iter(range(1, 100))

    def and_change(name, blocks):
        file.write_text(str(next(numbers))[-1:])  # in place, to the same length
        write(name, blocks)

    monkeypatch.setattr(storage, "write", and_change)
    with pytest.raises(Unstable, match="changed while it was stored"):
        ArtefactStore(storage).put("runs/1", file.parent)
    assert storage.names("") == []


def test_whoever_may_not_write_any_more_writes_no_manifest(storage, model):
    def refuse():
        raise RuntimeError("the lease is gone")

    with pytest.raises(RuntimeError):
        ArtefactStore(storage).put("runs/1", model, may_write=refuse)
    assert not ArtefactStore(storage).has("runs/1")


def test_what_another_brought_meanwhile_stays(storage, model, tmp_path):
    store = ArtefactStore(storage)
    store.put("models/a", model)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "mine").touch()
    store.fetch("models/a", tmp_path / "a")
    assert tree(tmp_path / "a") == {"mine": b""} and not list(tmp_path.glob(".a.*"))


def test_errors_that_pass_are_met_by_trying_again_and_others_are_told(storage, monkeypatch):
    answers = iter([ConnectionError("reset"), TimeoutError(), {"size": 3}])

    def info(path):
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(storage._fs, "info", info)
    assert storage.size_of("x") == 3
    storage.patience = 0
    answers = iter([ConnectionError("reset by peer")])
    with pytest.raises(Unreachable, match=r"does not answer .*reset by peer"):
        storage.size_of("x")
    answers = iter([PermissionError("Forbidden")])
    with pytest.raises(Unreachable, match="credentials"):
        storage.size_of("x")


def test_a_folder_that_is_not_mounted_is_no_empty_storage(tmp_path, model):
    store = ArtefactStore(FileSystem(str(tmp_path / "mnt"), patience=0))
    for action in (
        lambda: store.put("models/a", model),
        lambda: store.has("models/a"),
        lambda: store.manifest("models/a"),
        lambda: store.names("models"),
    ):
        with pytest.raises(Unreachable):
            action()
    assert not (tmp_path / "mnt").exists()


def test_an_address_of_no_known_kind_is_told():
    with pytest.raises(StorageProblem, match="s3://bucket/prefix"):
        FileSystem("nonsense://x")
