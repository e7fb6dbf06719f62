"""Draw an instruction dataset from labelled ones: examples-proportional mixing with a cap (Wei 2022, 2109.01652).

Each source has a weight of its number of rows, but at most `cap`; of `limit` rows each gets its share by weight, or,
without a limit, as many rows as its weight. So a large dataset does not drown a small one. Every draw comes from the
seed and the row itself: the same sources and options give the same rows on every machine.
"""

from __future__ import annotations

import hashlib
import heapq
import json
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from training.instructions.templating import FewShot, Instruction, few_shots, instructions_of

Row = dict[str, Any]


@dataclass(frozen=True)
class Options:
    """Hold how rows are mixed. Shares are of the rows that are made; `few_shot_share` of those whose template is not
    inverted."""

    cap: int = 3000
    limit: int | None = None
    templates_per_row: int = 1
    inverted_share: float = 0.15
    few_shot_share: float = 0.3
    most_shots: int = 5
    seed: int = 0


@dataclass(frozen=True)
class Source:
    """A labelled dataset. `rows` can be read again and again."""

    name: str
    task: str
    size: int
    rows: Callable[[], Iterable[Row]]
    extra: tuple[Instruction, ...] = ()  # templates of the user's own

    @property
    def instructions(self) -> tuple[Instruction, ...]:
        return (*instructions_of(self.task), *self.extra)


@dataclass
class MixCounts:
    """Hold what was made, counted while it is."""

    examples: int = 0
    by_template: Counter[str] = field(default_factory=Counter)
    by_source: Counter[str] = field(default_factory=Counter)
    by_frame: Counter[str] = field(default_factory=Counter)
    by_shots: Counter[int] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)


def quotas(sizes: list[int], options: Options) -> list[int]:
    """Return the rows to take from each source. Largest remainders, so that they add up to the limit."""
    weights = [min(size, options.cap) for size in sizes]
    total = sum(weights)
    if options.limit is None or options.limit >= total:
        return weights
    exact = [options.limit * weight / total for weight in weights]
    taken_rows = [int(share) for share in exact]
    by_remainder = sorted(range(len(exact)), key=lambda i: (taken_rows[i] - exact[i], i))
    for i in by_remainder[: options.limit - sum(taken_rows)]:
        taken_rows[i] += 1
    return taken_rows


def mix(
    sources: list[Source], options: Options, counts: MixCounts, keeps_out: Callable[[Row], str] = lambda row: ""
) -> Iterator[Row]:
    """Yield rows of an SFT dataset, each with what made it. `keeps_out` says why one must not train."""
    for source, quota in zip(sources, quotas([s.size for s in sources], options), strict=True):
        chosen = _draw_rows(source, quota, options.seed)
        labels = _labels(source)
        for key, row in chosen:
            for example in _examples(source, row, labels, chosen, random.Random(key), options):
                if reason := keeps_out(example):
                    counts.left_out[reason] += 1
                    continue
                counts.examples += 1
                counts.by_template[example["template"]] += 1
                counts.by_source[source.name] += 1
                counts.by_shots[example["shots"]] += 1
                if "frame" in example:
                    counts.by_frame[example["frame"]] += 1
                yield example


def _draw_rows(source: Source, quota: int, seed: int) -> list[tuple[str, Row]]:
    """Return `quota` rows by the order of a seeded hash: a draw without replacement in memory for the quota alone."""
    keyed = ((_key(row, seed), index, row) for index, row in enumerate(source.rows()))
    return [(f"{key} {index}", row) for key, index, row in heapq.nsmallest(quota, keyed, key=lambda k: k[:2])]


def _key(row: Row, seed: int) -> str:
    canonical = json.dumps(row, ensure_ascii=False, sort_keys=True)
    return hashlib.sha256(f"{seed} {canonical}".encode()).hexdigest()


def _labels(source: Source) -> list[str]:
    return sorted({row["label"] for row in source.rows() if "label" in row})


def _examples(
    source: Source, row: Row, labels: list[str], pool: list[tuple[str, Row]], draw: random.Random, options: Options
) -> Iterator[Row]:
    for instruction in _chosen(source.instructions, draw, options):
        prompt, completion = instruction.render(row, labels)
        shots: list[tuple[str, str]] = []
        if not instruction.is_inverted and draw.random() < options.few_shot_share:
            shots = _shots(instruction, row, labels, pool, draw, options.most_shots)
        frame: FewShot | None = draw.choice(few_shots()) if shots else None
        if frame is not None:
            prompt = frame.render(shots, prompt)
        yield {
            "prompt": [{"role": "user", "content": prompt}],
            "completion": completion,
            "template": instruction.name,
            **({"frame": frame.name} if frame is not None else {}),
            "task": source.task,
            "source": source.name,
            "of": _key(row, 0)[:16],  # in whatever words: SFT holds out labelled rows and not their wordings
            "shots": len(shots),
        }


def _chosen(instructions: tuple[Instruction, ...], draw: random.Random, options: Options) -> list[Instruction]:
    """Choose different templates for one row, each inverted with the share asked for while there are such."""
    left = {is_inverted: [t for t in instructions if t.is_inverted == is_inverted] for is_inverted in (True, False)}
    chosen = []
    for _ in range(min(options.templates_per_row, len(instructions))):
        is_inverted = draw.random() < options.inverted_share
        if not left[is_inverted]:
            is_inverted = not is_inverted
        if not left[is_inverted] or (is_inverted and options.inverted_share == 0):
            break
        chosen.append(left[is_inverted].pop(draw.randrange(len(left[is_inverted]))))
    return chosen


def _shots(
    instruction: Instruction, row: Row, labels: list[str], pool: list[tuple[str, Row]], draw: random.Random, most: int
) -> list[tuple[str, str]]:
    """Return one to `most` other rows, solved, in the same words."""
    n_shots = draw.randint(1, most)
    other_rows = [pool[draw.randrange(len(pool))][1] for _ in range(3 * n_shots)] if len(pool) > 1 else []
    prompt = instruction.render(row, labels)[0]
    shots: dict[str, str] = {}
    for other in other_rows:
        shot_prompt, completion = instruction.render(other, labels)
        if shot_prompt != prompt and len(shots) < n_shots:
            shots[shot_prompt] = completion
    return list(shots.items())
