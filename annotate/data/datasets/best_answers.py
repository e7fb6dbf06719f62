"""Choose answers that are good enough to learn to write: one rule over thumbs, stars and pairs of several annotators.

Every annotation of an answer is worth something between 0 and 1: thumbs up 1, down 0; stars (s - 1) / 4; a pair won 1,
a tie 1/2, a pair lost 0, *both bad* 0 for both. An answer's score is (sum + 1/2) / (n + 1): its mean annotation, drawn
towards 1/2 as if by one annotator who could not decide, so that one lucky vote does not beat nine good ones of ten.
An answer that nobody was positive about (a thumb up, four stars, a pair won) is never taken. Pure: no Django.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256

from annotate.data.datasets.preferences import Comparison, Rating

POSITIVE = 0.75  # four stars


@dataclass(frozen=True)
class Answer:
    completion: int
    score: float
    judgements: int
    positive: int


def answers_from(comparisons: Iterable[Comparison], ratings: Iterable[Rating]) -> dict[int, Answer]:
    """Return every completion with an annotation, by its id."""
    worth: dict[int, list[tuple[float, float]]] = defaultdict(list)
    for rating in ratings:
        if rating.thumbs is not None:
            worth[rating.completion].append((1.0 if rating.thumbs else 0.0, 1.0))
        if rating.stars is not None:
            worth[rating.completion].append(((rating.stars - 1) / 4, 1.0))
    for pair in comparisons:
        a, b = {"model_a": (1.0, 0.0), "model_b": (0.0, 1.0), "tie": (0.5, 0.5), "both_bad": (0.0, 0.0)}[pair.winner]
        worth[pair.completion_a].append((a, pair.weight))
        worth[pair.completion_b].append((b, pair.weight))
    return {completion: _answer(completion, values) for completion, values in worth.items()}


def best(answers: Iterable[tuple[Answer, int, str]], *, per_prompt: int, minimum: float) -> list[int]:
    """Return the best answers of each prompt, from (answer, its prompt, its text): at least `minimum`, no text of a
    prompt twice."""
    by_prompt: dict[int, list[tuple[Answer, bytes]]] = defaultdict(list)
    for answer, prompt, text in answers:
        if answer.positive and answer.score >= minimum:
            by_prompt[prompt].append((answer, sha256(text.strip().encode()).digest()))  # all texts are much memory
    best_ids = []
    for prompt in sorted(by_prompt):
        texts: set[bytes] = set()
        for answer, digest in sorted(by_prompt[prompt], key=lambda pair: _best_first(pair[0])):
            if digest not in texts and len(texts) < per_prompt:
                texts.add(digest)
                best_ids.append(answer.completion)
    return best_ids


def _answer(completion: int, values: list[tuple[float, float]]) -> Answer:
    """Return the answer from (worth, weight): the pairs of a ranking about one answer weigh as one."""
    weight = sum(w for _, w in values)
    score = (sum(v * w for v, w in values) + 0.5) / (weight + 1)
    return Answer(completion, score, round(weight), sum(v >= POSITIVE for v, _ in values))


def _best_first(answer: Answer) -> tuple[float, int, int]:
    return (-answer.score, -answer.judgements, answer.completion)
