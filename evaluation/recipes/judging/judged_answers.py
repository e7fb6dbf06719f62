"""Judged answers to set a reward model against: pairs, ties, thumbs and stars, from the eval split or from a
dataset."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace

from common.winners import WINNERS
from training.core.run_directory import RecipeFailure, Row, RunDirectory, read_lines

FEWEST = 2


@dataclass(frozen=True)
class Pair:
    """Two answers by number, and what a judge said: `won` is "a", "b", or "" for a tie."""

    prompt: int
    source: str
    voter: int
    a: int
    b: int
    won: str


@dataclass(frozen=True)
class Rated:
    prompt: int
    source: str
    answer: int
    thumbs: bool | None
    stars: int | None


@dataclass
class Judgements:
    prompts: list[list[Row]] = field(default_factory=list)
    prompt_ids: list[str] = field(default_factory=list)
    answers: list[tuple[int, str]] = field(default_factory=list)  # (prompt, text)
    pairs: list[Pair] = field(default_factory=list)
    rated: list[Rated] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    judge: str = ""

    def text_of(self, answer: int) -> str:
        return self.answers[answer][1]


def read(run: RunDirectory) -> Judgements:
    """Raises RecipeFailure for rows that are wrong, and for fewer than two judgements."""
    data, other = run.path / "data", run.path / "data" / "other"
    place = other if other.is_dir() and any(other.glob("*.jsonl")) else data
    files = {path.stem: list(read_lines(path)) for path in sorted(place.glob("*.jsonl"))}
    files.pop("about", None)
    about = next(iter(run.rows("about")), {}) if place == data else {}
    rows = [
        row for name, rows in files.items() if name not in ("completions", "comparisons", "ratings") for row in rows
    ]
    try:
        found = _of_pairs(rows) if rows else _of_feedback(files)
    except (KeyError, TypeError, ValueError) as error:
        raise RecipeFailure(
            "bad_data",
            f"The judgements cannot be read: {error}",
            'Give rows {"prompt", "chosen", "rejected"}, or a dataset of preferences.',
        ) from error
    if len(found.pairs) + len(found.rated) < FEWEST:
        n = len(found.pairs) + len(found.rated)
        raise RecipeFailure(
            "too_few_judgements",
            f"There {'is 1 judgement' if n == 1 else 'are no judgements'} to set the reward model against.",
            "Have more answers annotated, or choose a dataset with more pairs: tens at least, to say anything.",
        )
    found.judge = about.get("judge", "")
    if about.get("prompts", 0) > len(found.prompts):
        found.notes.append(f"{len(found.prompts)} of {about['prompts']} judged prompts, as the limit has it.")
    if other_judge := about.get("other_judge"):
        whose = "simulations" if found.judge == "person" else "people"
        found.notes.append(f"{other_judge} comparisons by {whose} are in no figure here: measure them by themselves.")
    return found


def _of_feedback(files: dict[str, list[Row]]) -> Judgements:
    """Rows as preferences are frozen, or as this project's eval split is laid down."""
    found, prompt_at, answer_at = Judgements(), {}, {}
    for row in files.get("completions", []):
        if row["prompt_id"] not in prompt_at:
            prompt_at[row["prompt_id"]] = len(found.prompts)
            found.prompts.append(row["prompt"])
            found.prompt_ids.append(str(row["prompt_id"]))
        answer_at[row["id"]] = len(found.answers)
        found.answers.append((prompt_at[row["prompt_id"]], row["text"]))
    for number, row in enumerate(files.get("comparisons", []), start=1):
        if row["winner"] not in WINNERS:
            raise ValueError(f"comparison {number}: winner {row['winner']!r} is none of {', '.join(WINNERS)}.")
        a, b = answer_at[row["completion_a"]], answer_at[row["completion_b"]]
        won = {"model_a": "a", "model_b": "b"}.get(row["winner"], "")
        voter = row.get("voter") or row.get("author") or -number  # who is not named is somebody of their own
        found.pairs.append(Pair(found.answers[a][0], row.get("source") or "", voter, a, b, won))
    for row in files.get("ratings", []):
        answer = answer_at[row["completion"]]
        thumbs, stars = row.get("thumbs"), row.get("stars")
        if thumbs is not None or stars is not None:
            found.rated.append(Rated(found.answers[answer][0], row.get("source") or "", answer, thumbs, stars))
    return found


def _of_pairs(rows: list[Row]) -> Judgements:
    """Rows {"prompt", "chosen", "rejected"}, perhaps with "source" or "group"; a prompt is a text or messages."""
    found = Judgements()
    place: dict[str, int] = {}
    for number, row in enumerate(rows, start=1):
        prompt, chosen, rejected = row["prompt"], row["chosen"], row["rejected"]
        messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
        if not messages or not isinstance(chosen, str) or not isinstance(rejected, str):
            raise ValueError(f"row {number}: prompt, chosen and rejected must be texts.")
        if chosen == rejected:
            raise ValueError(f"row {number}: chosen and rejected are the same text; one cannot be better.")
        at = place.setdefault(str(messages), len(found.prompts))
        if at == len(found.prompts):
            found.prompts.append(messages)
            found.prompt_ids.append(str(at + 1))
        found.answers += [(at, chosen), (at, rejected)]
        first = len(found.answers) - 2
        found.pairs.append(Pair(at, str(row.get("source") or row.get("group") or ""), -number, first, first + 1, "a"))
    return found


def limited(judgements: Judgements, limit: int) -> Judgements:
    """At most `limit` prompts, by the hash of their words, so that no order of the rows is favoured."""
    judged = {p.prompt for p in judgements.pairs} | {r.prompt for r in judgements.rated}
    hashes = {at: hashlib.sha256(str(judgements.prompts[at]).encode()).hexdigest() for at in judged}
    kept = set(sorted(judged, key=lambda at: hashes[at])[:limit])
    notes = list(judgements.notes)
    if len(judged) > limit:
        notes.append(f"{limit} of {len(judged)} judged prompts.")
    return replace(
        judgements,
        pairs=[p for p in judgements.pairs if p.prompt in kept],
        rated=[r for r in judgements.rated if r.prompt in kept],
        notes=notes,
    )
