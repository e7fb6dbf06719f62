"""Turn annotations into what a model can learn from, in this one place.

- A comparison with a winner is a preference pair, chosen over rejected, with the strength the annotator gave (1-3).
- A tie makes no preference pair; it is an observation that two answers are close. *Both bad* is a tie that adds that
  the two are low.
- Thumbs and stars are annotations of one answer. They are never turned into wins over something nobody compared.
- An annotation *tells* something when it sets an answer apart: a pair with a winner, a thumb that goes against the
common
  thumb, a star count other than its author's usual one. Four thumbs down of five tell little; so do 600 of 612.

`tells` counts these and says in words whether they are enough to learn from; the dataset page and the reward recipe
both ask it. Pure: no Django, no torch.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from common.winners import WINNERS

# By benchmarks/reward_learning_curve.py, with five tastes that 14 to 35 % of a 135M model's answers fit and 10 % of the
# votes wrong: with 20 telling annotations the head's AUC on unseen prompts is 0.71-0.86, with 40 0.76-0.88, with 80
# 0.80-0.88. A taste that 2 % of 720 answers fit leaves about 40.
ENOUGH = 80
ENOUGH_PROMPTS = 20


@dataclass(frozen=True)
class Comparison:
    prompt_id: int
    completion_a: int
    completion_b: int
    winner: str
    strength: int | None = None
    author: int = 0
    weight: float = 1.0  # the pairs of a ranking share what one annotation weighs (Ouyang 2022, 2203.02155, eq. 1)


@dataclass(frozen=True)
class Rating:
    completion: int
    thumbs: bool | None = None
    stars: int | None = None
    author: int = 0

    @property
    def says_something(self) -> bool:
        return self.thumbs is not None or self.stars is not None


@dataclass(frozen=True)
class Pair:
    """A preference of `chosen` over `rejected`; strength 1-3 is by how much, None when nobody asked."""

    prompt_id: int
    chosen: int
    rejected: int
    strength: int | None = None
    weight: float = 1.0


@dataclass(frozen=True)
class Tie:
    prompt_id: int
    completion_a: int
    completion_b: int
    both_bad: bool = False
    weight: float = 1.0


@dataclass(frozen=True)
class Informativeness:
    """Say how much a body of feedback teaches."""

    judgements: int
    pairs: int
    ties: int  # both_bad included
    both_bad: int
    thumbs_up: int
    thumbs_down: int
    stars: int
    uncommon_stars: int
    prompts: int  # prompts with any annotation
    prompts_telling: int  # prompts within which the annotations differ

    @property
    def minority_thumbs(self) -> int:
        return min(self.thumbs_up, self.thumbs_down)

    @property
    def informative(self) -> int:
        return self.pairs + self.minority_thumbs + self.uncommon_stars

    @property
    def enough(self) -> bool:
        return self.informative >= ENOUGH and self.prompts_telling >= ENOUGH_PROMPTS

    @property
    def sentence(self) -> str:
        """Return a sentence for the dataset page and the run's log."""
        parts = [_count(self.pairs, "comparison with a winner", "comparisons with a winner")]
        if self.thumbs_up or self.thumbs_down:
            parts.append(_count(self.minority_thumbs, "thumb", "thumbs") + " against the common one")
        if self.stars:
            parts.append(_count(self.uncommon_stars, "star rating", "star ratings") + " unlike its author's usual one")
        spoken = ", ".join(parts[:-1]) + (" and " if len(parts) > 1 else "") + parts[-1]
        return (
            f"{self.informative:,} of {_count(self.judgements, 'annotation', 'annotations')} separate one answer from "
            f"another: {spoken}, on {self.prompts_telling:,} of {_count(self.prompts, 'prompt', 'prompts')}. "
            f"{_count(self.ties, 'comparison', 'comparisons')} are ties, {self.both_bad:,} of them with both bad."
        )

    @property
    def reason(self) -> str:
        """Return why there are too few and what would help, for people; empty when they are enough."""
        return "" if self.enough else f"{self.lack} {self.remedy}"

    @property
    def lack(self) -> str:
        """Return what is missing; empty when they are enough."""
        if self.enough:
            return ""
        if self.judgements == 0:
            return "There are no annotations yet."
        if self.informative < ENOUGH:
            return f"A reward model needs at least {ENOUGH} annotations that separate answers."
        return f"A reward model needs annotations that differ on at least {ENOUGH_PROMPTS} prompts."

    @property
    def remedy(self) -> str:
        """Return what would help when they are too few."""
        if self.judgements >= 4 * max(self.informative, 1):
            return (
                "Most answers got the same annotation, so more votes of this kind hardly help. Sample more answers "
                "per prompt, or from another model, so that prompts have good and bad answers."
            )
        return "Collect more comparisons and ratings, on more prompts."


def comparisons_from(rows: Iterable[Mapping[str, Any]]) -> list[Comparison]:
    """Return checked comparisons. Raises ValueError naming the row, the field and what would be right."""
    return list(each_comparison(rows))


def each_comparison(rows: Iterable[Mapping[str, Any]]) -> Iterator[Comparison]:
    """Yield checked comparisons, as `comparisons_from`."""
    for number, row in enumerate(rows, start=1):
        winner, strength = row.get("winner"), row.get("strength")
        if winner not in WINNERS:
            raise ValueError(f"comparison {number}: winner {winner!r} is none of {', '.join(WINNERS)}.")
        if strength not in (None, 1, 2, 3):
            raise ValueError(f"comparison {number}: strength must be 1, 2, 3 or empty, not {strength!r}.")
        if row["completion_a"] == row["completion_b"]:
            raise ValueError(f"comparison {number}: completion_a and completion_b are the same, {row['completion_a']}.")
        weight = row.get("weight", 1.0)
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 < weight <= 1:
            raise ValueError(f"comparison {number}: weight must be above 0 and at most 1, not {weight!r}.")
        ends = row["completion_a"], row["completion_b"]
        yield Comparison(row["prompt_id"], *ends, winner, strength, row.get("author") or 0, weight)


def ratings_from(rows: Iterable[Mapping[str, Any]]) -> list[Rating]:
    """Return checked ratings. Raises ValueError naming the row, the field and what would be right."""
    return list(each_rating(rows))


def each_rating(rows: Iterable[Mapping[str, Any]]) -> Iterator[Rating]:
    """Yield checked ratings, as `ratings_from`."""
    for number, row in enumerate(rows, start=1):
        thumbs, stars = row.get("thumbs"), row.get("stars")
        if thumbs not in (None, True, False):
            raise ValueError(f"rating {number}: thumbs must be true, false or empty, not {thumbs!r}.")
        if stars not in (None, 1, 2, 3, 4, 5):
            raise ValueError(f"rating {number}: stars must be 1 to 5 or empty, not {stars!r}.")
        yield Rating(row["completion"], thumbs, stars, row.get("author") or 0)


def pairs(comparisons: Iterable[Comparison]) -> list[Pair]:
    """Return the preference pairs: one for each comparison that has a winner."""
    return [pair for c in comparisons if (pair := pair_of(c)) is not None]


def pair_of(c: Comparison) -> Pair | None:
    """Return the preference pair of a comparison, None where it has no winner."""
    if c.winner == "model_a":
        return Pair(c.prompt_id, c.completion_a, c.completion_b, c.strength, c.weight)
    if c.winner == "model_b":
        return Pair(c.prompt_id, c.completion_b, c.completion_a, c.strength, c.weight)
    if c.winner not in WINNERS:
        raise ValueError(f"winner {c.winner!r} is none of {', '.join(WINNERS)}.")
    return None


def ties(comparisons: Iterable[Comparison]) -> list[Tie]:
    """Return the comparisons that ended level."""
    return [tie for c in comparisons if (tie := tie_of(c)) is not None]


def tie_of(c: Comparison) -> Tie | None:
    """Return the tie of a comparison, None where it did not end level."""
    if c.winner not in ("tie", "both_bad"):
        return None
    return Tie(c.prompt_id, c.completion_a, c.completion_b, both_bad=c.winner == "both_bad", weight=c.weight)


def informativeness(
    comparisons: Iterable[Comparison], ratings: Iterable[Rating], prompt_of: Mapping[int, int]
) -> Informativeness:
    """Return how much these annotations teach. `prompt_of` gives the prompt of each rated completion; a ranking is
    one."""
    ratings = list(ratings)
    won = level = 0.0  # numbers of annotations, a ranking's pairs being one
    both_bad = 0
    prompts_telling, others = set[int](), set[int]()
    for c in comparisons:
        if pair_of(c) is not None:
            won += c.weight
            prompts_telling.add(c.prompt_id)
        else:
            level += c.weight
            others.add(c.prompt_id)
            both_bad += c.winner == "both_bad"
    thumbs = [r.thumbs for r in ratings if r.thumbs is not None]
    usual = _usual_stars(ratings)
    starred = [r for r in ratings if r.stars is not None]
    others |= {prompt_of[r.completion] for r in ratings if r.says_something}
    return Informativeness(
        judgements=round(won + level) + len(thumbs) + len(starred),
        pairs=round(won),
        ties=round(level),
        both_bad=both_bad,
        thumbs_up=sum(thumbs),
        thumbs_down=len(thumbs) - sum(thumbs),
        stars=len(starred),
        uncommon_stars=sum(r.stars != usual[r.author] for r in starred),
        prompts=len(prompts_telling) + len(others - prompts_telling),
        prompts_telling=len(prompts_telling) + len(_prompts_that_differ(ratings, prompt_of) - prompts_telling),
    )


def weighed(judgements: Iterable[Comparison | Pair | Tie]) -> int:
    """Return the number of annotations when the pairs of a ranking are one."""
    return round(sum(judgement.weight for judgement in judgements))


def _usual_stars(ratings: list[Rating]) -> dict[int, int]:
    """Return each author's most common star count: one person's three is another's four."""
    counts: dict[int, Counter[int]] = defaultdict(Counter)
    for r in ratings:
        if r.stars is not None:
            counts[r.author][r.stars] += 1
    return {author: max(counts, key=lambda star: (counts[star], star)) for author, counts in counts.items()}


def _prompts_that_differ(ratings: list[Rating], prompt_of: Mapping[int, int]) -> set[int]:
    """Return the prompts where answers got different thumbs, or different stars from one author."""
    marks: dict[tuple[Any, ...], set[Any]] = defaultdict(set)
    for r in ratings:
        prompt = prompt_of[r.completion]
        if r.thumbs is not None:
            marks[prompt, "thumbs"].add(r.thumbs)
        if r.stars is not None:
            marks[prompt, "stars", r.author].add(r.stars)
    return {key[0] for key, values in marks.items() if len(values) > 1}


def _count(n: int, singular: str, plural: str) -> str:
    return f"{n:,} {singular if n == 1 else plural}"
