"""Feedback from elsewhere: preference pairs with their prompts, and judgements of completions that stand here.

Importing the same pairs twice adds nothing twice. What is imported counts as its importer's feedback, and its source
names the import.
"""

from __future__ import annotations

import gzip
import hashlib
import itertools
import json
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from django.db import transaction

from annotate import transcripts
from annotate.actions.assignments import lock
from annotate.actions.judgement_rows import judge_of
from annotate.actions.prompts import NewCompletion, NewPrompt, add_completions, add_prompts, check_messages, check_text
from annotate.errors import Refused
from annotate.models import Comparison, Completion, Project, Prompt, User, Winner
from annotate.permissions import require

_CHUNK = 500
_LONGEST_LINE = 4_000_000
_LARGEST_FILE = 2_000_000_000
_GZIP = b"\x1f\x8b"
_OUR_OWN = ("annotation", "arena")


@dataclass(frozen=True)
class Skipped:
    line: int
    reason: str


@dataclass(frozen=True)
class NumberedPair:
    line: int
    pair: transcripts.Pair


@dataclass
class Report:
    """What an import did."""

    prompts: int = 0
    completions: int = 0
    comparisons: int = 0
    already: int = 0
    skipped: list[Skipped] = field(default_factory=list)


@transaction.atomic
def import_hh_rlhf(*, project: Project, file: BinaryIO, source: str, by: User) -> Report:
    """Lines of `{"chosen": transcript, "rejected": transcript}`, gzipped or not. Odd lines are skipped and told."""
    require(by, "research", project)
    _check_source(source)
    lock(project)  # two imports of one file at once would not see what the other adds
    report = Report()
    pairs = _readable(_lines(file), report)
    while batch := list(itertools.islice(pairs, _CHUNK)):
        _add_pairs(project, batch, source, by, report)
    if not report.comparisons and not report.already:
        told = "; ".join(f"line {s.line}: {s.reason}" for s in report.skipped[:3]) or "the file is empty"
        raise Refused(400, file=f'No line is a pair {{"chosen": "…", "rejected": "…"}} of transcripts: {told}.')
    return report


def import_pairs(*, project: Project, pairs: Sequence[transcripts.Pair], source: str, by: User) -> list[Comparison]:
    """The comparisons of these pairs, in order; Refused with the place of each bad one, and then nothing is added."""
    require(by, "research", project)
    _check_source(source)
    numbered = [NumberedPair(index, pair) for index, pair in enumerate(pairs)]
    if wrong := {f"{n.line}.chosen": reason for n in numbered if (reason := _unusable(n.pair))}:
        raise Refused(400, **wrong)
    with transaction.atomic():
        lock(project)
        return list(
            itertools.chain.from_iterable(
                _add_pairs(project, numbered[start : start + _CHUNK], source, by, Report())
                for start in range(0, len(numbered), _CHUNK)
            )
        )


def _check_source(source: str) -> None:
    if not source.strip() or len(source) > 60:
        raise Refused(400, source="Name where it comes from in 1 to 60 characters, such as hh-rlhf harmless-base.")
    if source.strip().lower() in _OUR_OWN:
        raise Refused(400, source=f"{source!r} is what was judged here itself; name the import otherwise.")


def _lines(file: BinaryIO) -> Iterator[bytes]:
    """Bounded, so that no file can fill the memory; Refused for what is not gzip although it begins so."""
    start = file.read(2)
    file.seek(0)
    stream = gzip.GzipFile(fileobj=file) if start == _GZIP else file
    total = 0
    try:
        while line := stream.readline(_LONGEST_LINE):
            total += len(line)
            if total > _LARGEST_FILE:
                raise Refused(413, file=f"At most {_LARGEST_FILE:,} bytes in one import; split the file.")
            yield line
    except (OSError, EOFError, zlib.error) as error:
        raise Refused(400, file=f"The gzip file is damaged ({error}); send it again.") from error


def _readable(lines: Iterable[bytes], report: Report) -> Iterator[NumberedPair]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            pair = _read_pair(line)
            if reason := _unusable(pair):
                raise ValueError(reason)
        except ValueError as error:
            report.skipped.append(Skipped(number, str(error)))
        else:
            yield NumberedPair(number, pair)


def _read_pair(line: bytes) -> transcripts.Pair:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        raise ValueError("is not JSON in UTF-8") from None
    if not isinstance(row, dict) or not all(isinstance(row.get(name), str) for name in ("chosen", "rejected")):
        raise ValueError("has no texts chosen and rejected")
    return transcripts.pair(row["chosen"], row["rejected"])


def _unusable(pair: transcripts.Pair) -> str:
    """Why a pair may not be stored; empty when it may."""
    try:
        check_messages(pair.messages)
        check_text(pair.chosen, "chosen", "The chosen answer")
        check_text(pair.rejected, "rejected", "The rejected answer")
    except Refused as refused:
        return " ".join(refused.errors.values())
    return "The two answers are the same." if pair.chosen.strip() == pair.rejected.strip() else ""


def _add_pairs(project: Project, batch: list[NumberedPair], source: str, by: User, report: Report) -> list[Comparison]:
    standing = Prompt.objects.filter(project=project).count()
    prompts = add_prompts(project=project, rows=[NewPrompt(n.pair.messages, source=source) for n in batch], by=by)
    report.prompts += Prompt.objects.filter(project=project).count() - standing
    wanted = [
        (prompt, text) for prompt, n in zip(prompts, batch, strict=True) for text in (n.pair.chosen, n.pair.rejected)
    ]
    completions = _completions(wanted, source, report)
    rows = {}
    for prompt, n in zip(prompts, batch, strict=True):
        chosen, rejected = completions[prompt.pk, n.pair.chosen], completions[prompt.pk, n.pair.rejected]
        row = _comparison(prompt, chosen, rejected, source, by)
        rows[row.idempotency_key] = row
    return _add_new(list(rows.values()), len(batch), report)


def _completions(wanted: list[tuple[Prompt, str]], source: str, report: Report) -> dict[tuple[int, str], Completion]:
    """A completion for each text: the one that an earlier import brought, or a new one."""
    prompts = {prompt.pk: prompt for prompt, _ in wanted}
    earlier = Completion.objects.filter(prompt__in=list(prompts), model=None, source=source)
    found = {(c.prompt_id, c.text): c for c in earlier}
    new = dict.fromkeys((prompt.pk, text) for prompt, text in wanted if (prompt.pk, text) not in found)
    made = add_completions(rows=[NewCompletion(prompts[pk], None, text, source=source) for pk, text in new])
    report.completions += len(made)
    return found | {(c.prompt_id, c.text): c for c in made}


def _comparison(prompt: Prompt, chosen: Completion, rejected: Completion, source: str, by: User) -> Comparison:
    digest = hashlib.sha256(f"{source}\n{prompt.pk}\n{chosen.pk}\n{rejected.pk}".encode())
    # Nobody knows any more which was shown first: by lot, so that the winner does not always stand on one side, and by
    # hash, so that the next import finds the same row.
    swapped = digest.digest()[0] % 2 == 1
    a, b = (rejected, chosen) if swapped else (chosen, rejected)
    return Comparison(
        project=prompt.project,
        prompt=prompt,
        completion_a=a,
        completion_b=b,
        winner=Winner.MODEL_B if swapped else Winner.MODEL_A,
        author=by,
        judge=judge_of(by),
        source=source,
        idempotency_key=f"import:{digest.hexdigest()}",
    )


def _add_new(rows: list[Comparison], asked: int, report: Report) -> list[Comparison]:
    keys = [row.idempotency_key for row in rows]
    found = {c.idempotency_key: c for c in Comparison.objects.filter(idempotency_key__in=keys)}
    Comparison.objects.bulk_create([row for row in rows if row.idempotency_key not in found], batch_size=_CHUNK)
    report.comparisons += len(rows) - len(found)
    report.already += asked - (len(rows) - len(found))
    return [found.get(row.idempotency_key, row) for row in rows]


def import_feedback(
    *, table: type[Any], project: Project, rows: Sequence[dict[str, Any]], source: str, by: User
) -> list[Any]:
    """Checked rows of ratings, comparisons or demonstrations on completions and prompts that stand in the project."""
    require(by, "research", project)
    _check_source(source)
    guideline = project.guideline
    common = {
        "project": project,
        "author": by,
        "judge": judge_of(by),
        "source": source,
        "guideline_version": guideline.version if guideline else None,
    }
    with transaction.atomic():
        return table.objects.bulk_create([table(**row, **common) for row in rows], batch_size=_CHUNK)
