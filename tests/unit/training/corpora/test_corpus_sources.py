"""Where texts come from: which files may be read, in which forms, and that reading goes on where it was."""

from __future__ import annotations

import contextlib
import gzip
import json
import time
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from training.configs.corpus_sources import BadSource, read_orders
from training.core.run_directory import RecipeFailure
from training.corpora.reading import hub_streams as hub
from training.corpora.reading import unpacking_bounds as bounds
from training.corpora.reading.allowed_files import files_of
from training.corpora.reading.source_part import Part
from training.corpora.reading.sources import parts_of
from training.corpora.reading.text_files import cut


def order(line: str):
    return read_orders(line)[0]


@pytest.fixture
def corpora(tmp_path) -> Path:
    folder = tmp_path / "corpora"
    (folder / "web").mkdir(parents=True)
    (folder / "a.txt").write_text("one")
    (folder / "web" / "b.jsonl").write_text('{"text": "two"}\n')
    (tmp_path / "secret.txt").write_text("nobody's business")
    return folder


def test_files_are_found_by_name_pattern_and_full_path(corpora):
    assert files_of(order("a.txt"), [corpora]) == [corpora / "a.txt"]
    assert files_of(order("**/*.jsonl"), [corpora]) == [corpora / "web" / "b.jsonl"]
    assert files_of(order(str(corpora / "web" / "*.jsonl")), [corpora]) == [corpora / "web" / "b.jsonl"]
    other = corpora.parent / "other"
    other.mkdir()
    assert files_of(order("a.txt"), [other, corpora]) == [corpora / "a.txt"], "each folder in turn"
    (corpora / "x[1].txt").write_text("brackets")
    assert files_of(order("x[1].txt"), [corpora]) == [corpora / "x[1].txt"]


def test_nothing_outside_the_allowed_folders_is_read(corpora, tmp_path):
    (corpora / "link.txt").symlink_to(tmp_path / "secret.txt")
    (corpora / "up").symlink_to(tmp_path)
    for name in (str(tmp_path / "secret.txt"), "link.txt", "up/secret.txt", "*.txt", "/etc/no-such-file.txt"):
        with pytest.raises(BadSource, match="is outside the allowed folders"):
            files_of(order(name), [corpora])
    for name in ("../secret.txt", f"{corpora}/../secret.txt", "web/../../secret.txt"):
        with pytest.raises(BadSource, match="leaves its folder"):
            files_of(order(name), [corpora])
    with pytest.raises(BadSource, match="none is allowed"):
        files_of(order("a.txt"), [])


def test_a_refusal_says_the_same_whether_or_not_the_file_is_there(corpora, tmp_path):
    said = []
    for name in ("secret", "absent"):
        with pytest.raises(BadSource) as raised:
            files_of(order(str(tmp_path / f"{name}.txt")), [corpora])
        said.append(str(raised.value).replace(name, "…"))
    assert said[0] == said[1]


def test_what_matches_nothing_or_no_plain_file_is_told(corpora):
    with pytest.raises(BadSource, match="matches no file"):
        files_of(order("nothing-*.txt"), [corpora])
    (corpora / "folder.txt").mkdir()
    with pytest.raises(BadSource, match="not a plain file"):
        files_of(order("folder.txt"), [corpora])


def parts(line: str, folder: Path, **options) -> list[Part]:
    given = {"fields": ["text"], "documents": "whole files", "longest": 100_000} | options
    return parts_of(read_orders(line), [folder], folder / "app_texts.jsonl", **given)


def texts(line: str, folder: Path, skip: int = 0, **options) -> list[str | None]:
    return [text for part in parts(line, folder, **options) for text in part.read(part, skip)]


ROWS = [f"document {n} says ä little" for n in range(200)]


@pytest.fixture
def forms(tmp_path) -> Path:
    """The same documents in every form."""
    lines = "".join(json.dumps({"id": n, "text": text}) + "\n" for n, text in enumerate(ROWS))
    table = pyarrow.table({"id": list(range(len(ROWS))), "text": ROWS})
    (tmp_path / "a.jsonl").write_text(lines)
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    pyarrow.parquet.write_table(table, tmp_path / "c.parquet", row_group_size=64)
    (tmp_path / "d.parquet.gz").write_bytes(gzip.compress((tmp_path / "c.parquet").read_bytes()))
    (tmp_path / "e.txt").write_text("\n\n".join(ROWS))
    (tmp_path / "f.txt.gz").write_bytes(gzip.compress("\n".join(ROWS).encode()))
    return tmp_path


@pytest.mark.parametrize(
    ("name", "documents"),
    [
        *[(name, "whole files") for name in ("a.jsonl", "b.jsonl.gz", "c.parquet", "d.parquet.gz")],
        ("e.txt", "between blank lines"),
        ("f.txt.gz", "lines"),
    ],
)
def test_every_form_gives_the_same_documents_from_any_row_on(forms, name, documents):
    assert texts(name, forms, documents=documents) == ROWS
    for skip in (1, 64, 130, 199, 200):
        assert texts(name, forms, skip, documents=documents) == ROWS[skip:]


def test_how_far_reading_is_shows_in_bytes(forms):
    for name in ("a.jsonl", "b.jsonl.gz", "c.parquet"):
        (part,) = parts(name, forms)
        assert part.size == (forms / name).stat().st_size and part.position == 0
        for _ in part.read(part, 0):
            pass
        assert part.position == part.size


def test_a_row_without_text_is_passed_over_and_a_file_without_the_field_refused(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "one"}\n{"text": 2}\nnot json\n{"other": "x"}\n{"text": "three"}\n')
    assert texts("a.jsonl", tmp_path) == ["one", None, None, None, "three"]
    (tmp_path / "b.jsonl").write_text('{"body": "one", "id": 1}\n')
    with pytest.raises(RecipeFailure, match="no text in text; it has body, id"):
        texts("b.jsonl", tmp_path)
    assert texts("b.jsonl", tmp_path, fields=["text", "body"]) == ["one"]
    pyarrow.parquet.write_table(pyarrow.table({"body": ["x"]}), tmp_path / "c.parquet")
    with pytest.raises(RecipeFailure, match="it has body"):
        texts("c.parquet", tmp_path)


def test_damaged_files_are_told_in_words(tmp_path):
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(b'{"text": "one"}\n' * 9999)[:-40])
    (tmp_path / "b.parquet").write_bytes(b"PAR1 but no more")
    (tmp_path / "c.txt.gz").write_bytes(b"plain after all")
    for name in ("a.jsonl.gz", "b.parquet", "c.txt.gz"):
        with pytest.raises(RecipeFailure) as raised:
            texts(name, tmp_path)
        assert raised.value.code == "unreadable_file" and name in raised.value.message


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_encodings_of_text_files_are_told_apart(tmp_path, encoding):
    (tmp_path / "a.txt").write_bytes("Zwölf große Boxkämpfer – “gut”".encode(encoding))
    assert texts("a.txt", tmp_path) == ["Zwölf große Boxkämpfer – “gut”"]


def test_a_long_file_is_cut_at_blank_lines_and_loses_nothing(tmp_path):
    whole = "\n\n".join(f"Paragraph {n} " + "of words " * 20 for n in range(60))
    (tmp_path / "a.txt").write_text(whole)
    found = texts("a.txt", tmp_path, longest=1500)
    assert "".join(found) == whole
    assert max(map(len, found)) <= 1500
    assert all(piece.startswith("Paragraph") for piece in found)
    unbroken = "x" * 5000
    assert list(cut(unbroken, 1500)) == ["x" * 1500] * 3 + ["x" * 500]


class Stream:
    """What `datasets` streams, as far as it is used: rows, a place, and a way back to it."""

    def __init__(self, begin: int = 0) -> None:
        self.next = begin

    def __iter__(self):
        while self.next < len(ROWS):
            self.next += 1
            yield {"text": ROWS[self.next - 1]}

    def state_dict(self):
        return {"next": self.next}

    def load_state_dict(self, state):
        self.next = state["next"]


def test_a_hub_corpus_is_streamed_and_goes_on_from_its_own_place(monkeypatch, tmp_path):
    monkeypatch.setattr(hub, "_stream", lambda order: Stream())
    (part,) = parts("hub:owner/name/config:validation", tmp_path)
    rows = part.read(part, 0)
    assert [next(rows) for _ in range(70)] == ROWS[:70]
    (again,) = parts("hub:owner/name/config:validation", tmp_path)
    again.resume_from = part.state()
    assert list(again.read(again, 70)) == ROWS[70:]


@pytest.mark.slow
def test_streams_of_datasets_really_resume(monkeypatch, forms):
    from datasets import load_dataset

    monkeypatch.setattr(
        hub,
        "_stream",
        lambda order: load_dataset("json", data_files=str(forms / "a.jsonl"), split="train", streaming=True),
    )
    (part,) = parts("hub:owner/name", forms)
    rows = part.read(part, 0)
    assert [next(rows) for _ in range(130)] == ROWS[:130]
    state = json.loads(json.dumps(part.state()))
    (again,) = parts("hub:owner/name", forms)
    again.resume_from = state
    assert list(again.read(again, 130)) == ROWS[130:]


@pytest.mark.parametrize(
    ("bound", "value", "words"), [("MOST_ROWS", 90, "90 rows"), ("LARGEST_IMPORT", 500, "500 bytes")]
)
def test_a_hub_corpus_without_an_end_ends_the_run_with_the_remedy(monkeypatch, tmp_path, bound, value, words):
    monkeypatch.setattr(bounds, bound, value)
    monkeypatch.setattr(hub, "_stream", lambda order: Stream())
    (part,) = parts("hub:owner/name", tmp_path)
    with pytest.raises(RecipeFailure, match=words) as raised:
        list(part.read(part, 0))
    assert raised.value.code == "hub_too_large" and "max_documents" in raised.value.remedy


def test_the_rows_of_earlier_attempts_count_against_the_bound_of_a_hub_corpus(monkeypatch, tmp_path):
    monkeypatch.setattr(bounds, "MOST_ROWS", len(ROWS) - 1)
    monkeypatch.setattr(hub, "_stream", lambda order: Stream())
    (part,) = parts("hub:owner/name", tmp_path)
    part.resume_from = {"next": 70}
    with pytest.raises(RecipeFailure, match=f"more than {len(ROWS) - 1} rows"):
        list(part.read(part, 70))


def test_one_row_of_a_hub_corpus_may_not_fill_the_memory(monkeypatch, tmp_path):
    monkeypatch.setattr(bounds, "LONGEST_VOID", 5)
    monkeypatch.setattr(hub, "_stream", lambda order: Stream())
    with pytest.raises(RecipeFailure, match="5 bytes in one row"):
        texts("hub:owner/name", tmp_path)


class Stalls(Stream):
    """It sends nothing, and tries anew on whatever goes wrong, as libraries do."""

    def __iter__(self):
        for _ in range(3):
            with contextlib.suppress(Exception):
                time.sleep(3)
        yield {"text": "late"}


def test_a_hub_that_sends_nothing_ends_the_run_in_words(monkeypatch, tmp_path):
    monkeypatch.setattr(bounds, "LONGEST_WAIT", 0.2)
    monkeypatch.setattr(hub, "_stream", lambda order: Stalls())
    began = time.monotonic()
    with pytest.raises(RecipeFailure, match=r"Nothing came within 0\.2 seconds") as raised:
        texts("hub:owner/name", tmp_path)
    assert raised.value.code == "hub" and "then resume" in raised.value.remedy and time.monotonic() - began < 8


def test_hub_names_are_taken_apart_and_trouble_is_told_with_a_remedy(tmp_path, monkeypatch):
    found = order("hub:allenai/c4/en:validation")
    assert (found.name, found.config, found.split) == ("allenai/c4", "en", "validation")
    assert order("hub:roneneldan/TinyStories").split == "train"

    def fails(order):
        raise ConnectionError("Couldn't reach the Hub (offline mode is enabled)")

    monkeypatch.setattr(hub, "_stream", fails)
    with pytest.raises(RecipeFailure) as raised:
        texts("hub:owner/name", tmp_path)
    assert raised.value.code == "hub" and "HF_HUB_OFFLINE" in raised.value.remedy


def test_the_apps_own_texts_come_from_the_run_directory(tmp_path):
    rows = [{"text": "An answer.", "source": "answers"}, {"text": "A demonstration.", "source": "demonstrations"}]
    (tmp_path / "app_texts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert texts("app:answers", tmp_path) == ["An answer."]
    assert texts("app:answers\napp:demonstrations", tmp_path) == ["An answer.", "A demonstration."]


def rows_of(folder: Path, name: str, documents: str = "lines") -> list:
    [part] = parts_of([order(name)], [folder], folder / "none", fields=["text"], documents=documents, longest=1000)
    return list(part.read(part, 0))


@pytest.mark.parametrize("name", ["bomb.txt.gz", "bomb.jsonl.gz"])
def test_a_small_packed_file_that_unpacks_to_too_much_is_refused(tmp_path, monkeypatch, name):
    monkeypatch.setattr("training.corpora.reading.text_files.opened.__defaults__", (10_000,))
    line = '{"text": "a"}\n' if "jsonl" in name else "a\n"
    (tmp_path / name).write_bytes(gzip.compress(line.encode() * 20_000))
    with pytest.raises(RecipeFailure, match="unpacked") as failure:
        rows_of(tmp_path, name)
    assert failure.value.code == "file_too_large"


def test_parquet_within_gzip_is_unpacked_to_disk_up_to_a_bound(tmp_path, monkeypatch):
    table = pyarrow.table({"text": [f"text {n}" for n in range(2000)]})
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    (tmp_path / "a.parquet.gz").write_bytes(gzip.compress((tmp_path / "a.parquet").read_bytes()))
    assert len(rows_of(tmp_path, "a.parquet.gz")) == 2000
    monkeypatch.setattr(bounds, "LARGEST_FILE", 3_000)
    with pytest.raises(RecipeFailure, match="3,000 bytes, unpacked"):
        rows_of(tmp_path, "a.parquet.gz")


def test_a_text_that_stands_in_every_row_of_parquet_counts_each_time(tmp_path, monkeypatch):
    pyarrow.parquet.write_table(pyarrow.table({"text": ["x" * 1000] * 5000}), tmp_path / "a.parquet")
    assert (tmp_path / "a.parquet").stat().st_size < 10_000
    monkeypatch.setattr(bounds, "LARGEST_IMPORT", 100_000)
    with pytest.raises(RecipeFailure, match="100,000 bytes, unpacked"):
        rows_of(tmp_path, "a.parquet")


@pytest.mark.parametrize("name", ["a.parquet", "a.txt", "a.jsonl"])
def test_more_rows_than_anybody_waits_for_are_refused(tmp_path, monkeypatch, name):
    monkeypatch.setattr(bounds, "MOST_ROWS", 100)
    (tmp_path / "a.txt").write_text("a\n" * 101)
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n' * 101)
    nothing = pyarrow.array([None] * 101, pyarrow.string())
    pyarrow.parquet.write_table(pyarrow.table({"text": nothing}), tmp_path / "a.parquet")
    with pytest.raises(RecipeFailure, match=r"more than 100 (rows|lines)"):
        rows_of(tmp_path, name)


def test_a_long_line_is_cut_and_an_endless_one_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(bounds, "LONGEST_LINE", 1000)
    monkeypatch.setattr(bounds, "LONGEST_VOID", 5000)
    (tmp_path / "a.txt").write_text("a" * 3000 + "\nb\n")
    assert rows_of(tmp_path, "a.txt") == ["a" * 1000] * 3 + ["b"]
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n{"text": "' + "a" * 3000 + '"}\n{"text": "b"}\n')
    assert rows_of(tmp_path, "a.jsonl") == ["a", None, "b"]
    (tmp_path / "b.jsonl").write_text('{"text": "a"}\n' + "a" * 6000)
    with pytest.raises(RecipeFailure, match="5,000 bytes in one line"):
        rows_of(tmp_path, "b.jsonl")
    (tmp_path / "c.txt").write_text("line\n" * 1000)  # no blank line: no paragraph grows beyond a line's bound
    assert max(map(len, rows_of(tmp_path, "c.txt", "between blank lines"))) <= 1010
