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
    """Read the judgements. Raises RecipeFailure for rows that are wrong, and for fewer than two judgements."""
    data, other = run.path / "data", run.path / "data" / "other"
    folder = other if other.is_dir() and any(other.glob("*.jsonl")) else data
    files = {path.stem: list(read_lines(path)) for path in sorted(folder.glob("*.jsonl"))}
    files.pop("about", None)
    about = next(iter(run.rows("about")), {}) if folder == data else {}
    rows = [
        row for name, rows in files.items() if name not in ("completions", "comparisons", "ratings") for row in rows
    ]
    try:
        judgements = _of_pairs(rows) if rows else _of_feedback(files)
    except (KeyError, TypeError, ValueError) as error:
        raise RecipeFailure(
            "bad_data",
            f"The annotations cannot be read: {error}",
            'Give rows {"prompt", "chosen", "rejected"}, or a dataset of preferences.',
        ) from error
    if len(judgements.pairs) + len(judgements.rated) < FEWEST:
        n = len(judgements.pairs) + len(judgements.rated)
        raise RecipeFailure(
            "too_few_judgements",
            f"There {'is 1 annotation' if n == 1 else 'are no annotations'} to compare the reward model with.",
            "Annotate more answers, or choose a dataset with more pairs: at least some tens.",
        )
    judgements.judge = about.get("judge", "")
    if about.get("prompts", 0) > len(judgements.prompts):
        judgements.notes.append(
            f"{len(judgements.prompts)} of {about['prompts']} annotated prompts, because of the limit."
        )
    if other_judge := about.get("other_judge"):
        voters = "simulations" if judgements.judge == "person" else "people"
        judgements.notes.append(f"{other_judge} comparisons by {voters} are not included; measure them in another run.")
    return judgements


def _of_feedback(files: dict[str, list[Row]]) -> Judgements:
    """Return judgements from rows as preferences are frozen, or as this project's eval split is laid down."""
    judgements, prompt_at, answer_at = Judgements(), {}, {}
    for row in files.get("completions", []):
        if row["prompt_id"] not in prompt_at:
            prompt_at[row["prompt_id"]] = len(judgements.prompts)
            judgements.prompts.append(row["prompt"])
            judgements.prompt_ids.append(str(row["prompt_id"]))
        answer_at[row["id"]] = len(judgements.answers)
        judgements.answers.append((prompt_at[row["prompt_id"]], row["text"]))
    for number, row in enumerate(files.get("comparisons", []), start=1):
        if row["winner"] not in WINNERS:
            raise ValueError(f"comparison {number}: winner {row['winner']!r} is none of {', '.join(WINNERS)}.")
        a, b = answer_at[row["completion_a"]], answer_at[row["completion_b"]]
        won = {"model_a": "a", "model_b": "b"}.get(row["winner"], "")
        voter = row.get("voter") or row.get("author") or -number  # who is not named is somebody of their own
        judgements.pairs.append(Pair(judgements.answers[a][0], row.get("source") or "", voter, a, b, won))
    for row in files.get("ratings", []):
        answer = answer_at[row["completion"]]
        thumbs, stars = row.get("thumbs"), row.get("stars")
        if thumbs is not None or stars is not None:
            judgements.rated.append(
                Rated(judgements.answers[answer][0], row.get("source") or "", answer, thumbs, stars)
            )
    return judgements


def _of_pairs(rows: list[Row]) -> Judgements:
    """Return judgements from rows {"prompt", "chosen", "rejected"}, perhaps with "source" or "group"; a prompt is a
    text or messages."""
    judgements = Judgements()
    index_of: dict[str, int] = {}
    for number, row in enumerate(rows, start=1):
        prompt, chosen, rejected = row["prompt"], row["chosen"], row["rejected"]
        messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
        if not messages or not isinstance(chosen, str) or not isinstance(rejected, str):
            raise ValueError(f"row {number}: prompt, chosen and rejected must be texts.")
        if chosen == rejected:
            raise ValueError(f"row {number}: chosen and rejected are equal.")
        at = index_of.setdefault(str(messages), len(judgements.prompts))
        if at == len(judgements.prompts):
            judgements.prompts.append(messages)
            judgements.prompt_ids.append(str(at + 1))
        judgements.answers += [(at, chosen), (at, rejected)]
        first = len(judgements.answers) - 2
        judgements.pairs.append(
            Pair(at, str(row.get("source") or row.get("group") or ""), -number, first, first + 1, "a")
        )
    return judgements


def limited(judgements: Judgements, limit: int) -> Judgements:
    """Keep at most `limit` prompts, by the hash of their words, so that no order of the rows is favoured."""
    judged_prompts = {p.prompt for p in judgements.pairs} | {r.prompt for r in judgements.rated}
    hashes = {at: hashlib.sha256(str(judgements.prompts[at]).encode()).hexdigest() for at in judged_prompts}
    kept_prompts = set(sorted(judged_prompts, key=lambda at: hashes[at])[:limit])
    notes = list(judgements.notes)
    if len(judged_prompts) > limit:
        notes.append(f"{limit} of {len(judged_prompts)} annotated prompts.")
    return replace(
        judgements,
        pairs=[p for p in judgements.pairs if p.prompt in kept_prompts],
        rated=[r for r in judgements.rated if r.prompt in kept_prompts],
        notes=notes,
    )
