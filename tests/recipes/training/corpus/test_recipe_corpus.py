"""A corpus run: what is kept, why the rest goes, that counts add up, and that an interruption changes nothing."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.sampling_of_cases import plain_run_tries
from training.core.file_checks.content_hashes import corpus_hash
from training.core.run_directory import RunDirectory, RunSpec, read_lines
from training.recipes.common import entry
from training.recipes.corpus import __main__ as corpus

NOUNS = "harbour ship tide pilot winter wind fisher net storm child fire village road river bridge market"
VERBS = "meets follows watches leaves remembers paints carries forgets finds loses hears builds"


def prose(draw: random.Random, sentences: int = 9) -> str:
    """Plain English that no two draws have in common, with the small words that Gopher looks for."""
    nouns, verbs = NOUNS.split(), VERBS.split()
    return " ".join(
        f"The {draw.choice(nouns)} {draw.choice(verbs)} a {draw.choice(nouns)} of {draw.choice(nouns)} "
        f"{draw.randrange(10**4)} and {draw.choice(verbs)} with {draw.choice(nouns)}."
        for _ in range(sentences)
    )


EVAL = "Tell me in your own words why the tide of the northern harbour follows the Moon and not the ships"


def dirty(count: int = 120, seed: int = 0) -> list[str]:
    """Good texts, and known numbers of every sort of bad one, shuffled."""
    draw = random.Random(seed)
    good = [prose(draw) for _ in range(count)]
    words = good[1].split()
    bad = [
        *[good[0]] * 6,  # equal
        *[" ".join([*words[:-2], f"once {n}."]) for n in range(5)],  # nearly equal
        *["Der Wind kommt von Norden, und die alten Leute sitzen am Feuer und flicken ihre Netze. " * 4] * 2,
        *[f"Too short, number {n} of them." for n in range(7)],
        *["click here to win " * 40 + str(n) for n in range(3)],
        f"{prose(draw, 4)} {EVAL}, he said. {prose(draw, 4)}",
        f"{prose(draw)} Write to jane.doe@example.org or call +44 20 7946 0958.",
        "Lorem ipsum dolor sit amet. " + prose(draw),
        "FranÃ§ais: " + prose(draw),
    ]
    documents = good + bad
    draw.shuffle(documents)
    return documents


def make_run(folder: Path, documents: list[str] | None = None, **config: Any) -> RunDirectory:
    run = RunDirectory(folder / "run")
    files = folder / "files"
    files.mkdir(parents=True)
    documents = dirty() if documents is None else documents
    half = len(documents) // 2
    for name, part in (("a.jsonl", documents[:half]), ("b.jsonl", documents[half:])):
        (files / name).write_text("".join(json.dumps({"text": text}) + "\n" for text in part))
    given = {"sources": "a.jsonl\nb.jsonl", "checkpoint_every": 20} | config
    run.create(
        RunSpec("corpus", given),
        {"folders": iter([{"folder": str(files)}]), "eval_texts": iter([{"text": EVAL}, {"text": "Why?"}])},
    )
    return run


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> RunDirectory:
    run = make_run(tmp_path_factory.mktemp("corpus"))
    assert entry.attempt(corpus.main, run) == 0, run.failure()
    return run


def kept(run: RunDirectory, pattern: str = "*.jsonl") -> list[dict[str, Any]]:
    return [row for path in sorted(run.dataset.glob(pattern)) for row in read_lines(path)]


def rules(run: RunDirectory) -> dict[str, dict[str, Any]]:
    return {rule["name"]: rule for rule in run.result()["report"]["rules"]}


def test_every_rule_takes_what_is_its_own(done):
    removed = {name: rule["removed"]["documents"] for name, rule in rules(done).items()}
    assert removed == {
        "fix_unicode": 0,
        "c4_boilerplate": 1,
        "languages": 2,
        "gopher_quality": 10,  # seven too short, three without small words
        "gopher_repetition": 0,
        "evaluation_texts": 1,
        "private_data": 0,
        "exact_duplicates": 6,
        "near_duplicates": 5,
    }
    changed = {name: rule["changed"]["documents"] for name, rule in rules(done).items() if rule["changed"]["documents"]}
    assert changed == {"fix_unicode": 1, "private_data": 1}
    texts = [row["text"] for row in kept(done)]
    assert len(texts) == 122 and len(set(texts)) == 122
    assert sum(text.endswith("Write to [email] or call [phone].") for text in texts) == 1
    assert sum(text.startswith("Français: ") for text in texts) == 1
    assert not any("Moon" in text or "Wind kommt" in text for text in texts)


def test_the_counts_add_up_for_the_whole_and_for_every_source(done):
    report = done.result()["report"]
    assert report["read"]["documents"] == len(dirty())
    assert report["read"]["bytes"] == sum(len(text.strip().encode()) for text in dirty())
    gone = sum(rule["removed"]["documents"] for rule in report["rules"])
    assert report["kept"]["documents"] + gone == report["read"]["documents"]
    assert report["kept"]["bytes"] == sum(len(row["text"].encode()) for row in kept(done))
    assert [source["source"] for source in report["sources"]] == ["a.jsonl", "b.jsonl"]
    for source in report["sources"]:
        assert source["kept"]["documents"] + sum(source["removed"].values()) == source["read"]["documents"]
    counts = done.result()["counts"]
    assert (counts["train"] + counts["validation"], counts["documents"]) == (122, 122)
    assert counts["left_out"]["Quality (Gopher)"] == 10


def test_samples_show_what_went_and_what_was_changed(done):
    quality = rules(done)["gopher_quality"]
    assert len(quality["samples"]) == 3
    assert dict(quality["reasons"]) == {"too few words": 7, "too few common words": 3}
    assert all(sample["text"] and ":" in sample["why"] for sample in quality["samples"])
    (change,) = rules(done)["private_data"]["changes"]
    assert "jane.doe@example.org" in change["before"] and "[email]" in change["after"]
    assert done.result()["report"]["evaluation"] == {"texts": 2, "too_short": 1}


def test_a_share_is_held_out_by_hash_and_a_small_corpus_holds_out_one(done, tmp_path):
    train, validation = kept(done, "train-*"), kept(done, "validation*")
    assert len(train) + len(validation) == 122 and 1 <= len(validation) <= 8
    more = make_run(tmp_path / "more", held_out=0.3)
    assert entry.attempt(corpus.main, more) == 0
    held = {row["text"] for row in kept(more, "validation*")}
    assert 22 <= len(held) <= 52 and {row["text"] for row in validation} <= held, "by hash, not by draw"
    few = make_run(tmp_path / "few", [prose(random.Random(n)) for n in range(3)], held_out=0.0001)
    assert entry.attempt(corpus.main, few) == 0
    assert (len(kept(few, "train-*")), len(kept(few, "validation*"))) == (2, 1)


def test_files_of_the_corpus_are_rolled_at_their_size(tmp_path, monkeypatch):
    monkeypatch.setattr(corpus, "_SHARD_UNIT", 10_000)
    run = make_run(tmp_path, shard_mb=1)
    assert entry.attempt(corpus.main, run) == 0
    shards = sorted(run.dataset.glob("train-*.jsonl"))
    assert [path.name for path in shards[:2]] == ["train-00000.jsonl", "train-00001.jsonl"] and len(shards) > 4
    assert all(path.stat().st_size <= 10_000 for path in shards)
    assert len(kept(run)) == 122


def test_progress_and_figures_are_written_as_it_goes(done):
    rows = list(read_lines(done.path / "metrics.jsonl"))
    assert rows[0]["step"] == 20 and rows[-1]["step"] == len(dirty())
    assert {"documents_per_second", "kept_share", "peak_memory_gb", "seconds"} <= rows[0]["values"].keys()
    assert done.current_progress()["step"] == done.current_progress()["total"] == len(dirty())
    assert done.kept_step() == len(dirty())


@pytest.mark.parametrize(
    "sources",
    plain_run_tries(
        "a.jsonl\nb.jsonl", "python:topics", of=("a.jsonl\nb.jsonl", "python:topics", "a.jsonl\npython:topics")
    ),
)
def test_the_end_is_foretold_where_lengths_are_known(tmp_path, monkeypatch, sources):
    monkeypatch.setattr(corpus, "_SAY_EVERY", 0.0)
    said: list[tuple[Any, ...]] = []
    monkeypatch.setattr(RunDirectory, "progress", lambda self, phase, *told: said.append((phase, *told)))
    run = make_run(tmp_path, sources=sources, checkpoint_every=50)
    assert entry.attempt(corpus.main, run) == 0
    cleaning = [told[1:] for told in said if told[0] == "Cleaning"]
    middle = cleaning[len(cleaning) // 2]
    read = run.result()["documents"]
    assert 0.5 * read <= middle[1] <= 2 * read and middle[2] > 0
    assert all(step <= total for step, total, _ in cleaning)


@pytest.mark.thorough
def test_no_end_is_foretold_of_a_stream_without_one(tmp_path, monkeypatch):
    from training.corpora.reading import hub_streams as hub
    from training.recipes.corpus.__main__ import Work

    class Stream(list):
        def state_dict(self):
            return {}

    stream = Stream({"text": text} for text in dirty())
    monkeypatch.setattr(hub, "_stream", lambda order: stream)
    shares: list[float | None] = []
    honest = Work._share_done
    monkeypatch.setattr(corpus, "_SAY_EVERY", 0.0)
    monkeypatch.setattr(Work, "_share_done", lambda self, part: shares.append(honest(self, part)) or shares[-1])
    assert entry.attempt(corpus.main, make_run(tmp_path / "all", sources="hub:owner/name")) == 0
    assert set(shares) == {None}
    shares.clear()
    assert entry.attempt(corpus.main, make_run(tmp_path / "some", sources="hub:owner/name", max_documents=50)) == 0
    assert shares[0] == 1 / 50 and shares == sorted(shares, key=float)


def files_of(run: RunDirectory) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in run.dataset.iterdir()}


def same_end(run: RunDirectory, whole: RunDirectory) -> None:
    assert files_of(run) == files_of(whole)
    ours, theirs = run.result(), whole.result()
    assert ours["hash"] == theirs["hash"] == corpus_hash(whole.dataset)
    assert ours["report"] == theirs["report"] and ours["counts"] == theirs["counts"]


MOMENTS = [  # where it dies, and at which call
    ("training.recipes.corpus.shards.Shards.write", 37),
    ("training.corpora.cleaning.ledger.Ledger.commit", 3),
    ("training.core.run_directory.RunDirectory.begin_checkpoint", 3),
    ("training.core.run_directory.RunDirectory.commit_dataset", 1),
    ("training.core.run_directory.RunDirectory.finish", 1),
]


@pytest.mark.parametrize(
    ("place", "call"), plain_run_tries(*MOMENTS[:2], of=MOMENTS), ids=[place.rsplit(".", 1)[1] for place, _ in MOMENTS]
)
def test_cut_off_anywhere_it_ends_with_the_same_bytes(done, tmp_path, monkeypatch, place, call):
    cut = make_run(tmp_path)
    module, owner, method = place.rsplit(".", 2)
    holder = getattr(sys.modules[module], owner)
    honest, calls = getattr(holder, method), [0]

    def dies(self, *given, **named):
        calls[0] += 1
        if calls[0] == call:
            raise KeyboardInterrupt  # as abrupt as a signal
        return honest(self, *given, **named)

    with monkeypatch.context() as patch:
        patch.setattr(holder, method, dies)
        with pytest.raises(KeyboardInterrupt):
            entry.attempt(corpus.main, cut)
    assert entry.attempt(corpus.main, cut) == 0, cut.failure()
    same_end(cut, done)
    assert [row["step"] for row in read_lines(cut.path / "metrics.jsonl")] == [
        row["step"] for row in read_lines(done.path / "metrics.jsonl")
    ]


MEASURED = """
import sys
from pathlib import Path
import training.corpora.cleaning.ledger as ledger
import training.recipes.corpus.__main__ as corpus
import training.recipes.common.entry as entry
from training.core.run_directory import RunDirectory
ledger._CACHE_KIB = 1024  # else the cache, bounded as it is, would grow for as long as a test can last
assert entry.attempt(corpus.main, RunDirectory(sys.argv[1])) == 0
# Not ru_maxrss: it would be that of the process which started this one.
print(next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")))
"""
STATELESS = ("fix_unicode", "c4_boilerplate", "gopher_quality", "gopher_repetition", "private_data")


@pytest.mark.thorough
@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc, which Linux has")
def test_ten_times_the_corpus_takes_no_more_memory(tmp_path):
    """In megabytes of peak resident memory. What is remembered of these documents takes 20 MB of disk."""
    draw, peaks = random.Random(0), []
    for count in (2_000, 20_000):
        documents = [" ".join(f"{draw.randrange(10**6)}" for _ in range(30)) for _ in range(count)]
        off: dict[str, Any] = dict.fromkeys(STATELESS, False) | {"languages": ""}
        run = make_run(tmp_path / str(count), documents, checkpoint_every=1000, **off)
        command = [sys.executable, "-c", MEASURED, str(run.path)]
        ended = subprocess.run(command, capture_output=True, text=True, check=True)
        assert run.result()["kept_documents"] == count
        peaks.append(int(ended.stdout.split()[-2]) // 1024)
    assert peaks[1] - peaks[0] < 8, peaks


def test_only_so_many_documents_of_each_source_are_read(tmp_path):
    run = make_run(tmp_path, max_documents=30)
    assert entry.attempt(corpus.main, run) == 0
    assert [source["read"]["documents"] for source in run.result()["report"]["sources"]] == [30, 30]


def test_nothing_switched_on_keeps_everything_as_it_is(tmp_path):
    documents = dirty()
    off: dict[str, Any] = dict.fromkeys(
        (*STATELESS, "evaluation_texts", "exact_duplicates", "near_duplicates"), False
    ) | {"languages": ""}
    run = make_run(tmp_path, documents, **off)
    assert entry.attempt(corpus.main, run) == 0
    assert sorted(row["text"] for row in kept(run)) == sorted(text.strip() for text in documents)


def test_too_strict_a_rule_is_named_when_nothing_is_left(tmp_path):
    run = make_run(tmp_path, min_words=5000)
    assert entry.attempt(corpus.main, run) == 1
    failure = run.failure()
    assert failure["code"] == "nothing_left" and "gopher_quality (too few words)" in failure["remedy"]


def test_a_file_outside_the_folders_is_refused_by_the_recipe_too(tmp_path):
    (tmp_path / "secret.txt").write_text("nobody's business")
    run = make_run(tmp_path / "run", sources=str(tmp_path / "secret.txt"))
    assert entry.attempt(corpus.main, run) == 1
    assert run.failure()["code"] == "source_refused" and "outside" in run.failure()["message"]


def test_by_hand_the_environment_names_the_folders(tmp_path, monkeypatch):
    run = make_run(tmp_path)
    (run.path / "data" / "folders.jsonl").unlink()
    assert entry.attempt(corpus.main, run) == 1
    assert "ASSAY_CORPUS_FOLDERS" in run.failure()["message"] + run.failure()["remedy"]
    monkeypatch.setenv("ASSAY_CORPUS_FOLDERS", str(tmp_path / "files"))
    assert entry.attempt(corpus.main, run) == 0
