"""Items with odd texts, drawn from a seed: what a format must carry there and back."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any

from annotate.data.formats.items import (
    Item,
    NewAttack,
    NewComparison,
    NewDemonstration,
    NewFlag,
    NewPrompt,
    NewRanking,
    NewRating,
    NewSpan,
)

TEXTS = (
    "Plain.", " leading space", "trailing space ", "two\n\nparagraphs", "a\r\nb\r\n", "tab\there",
    '"quoted", with commas',
    "semi;colon", "日本語のテキスト", "مرحبا بالعالم", "emoji 👩‍👩‍👧 joined", "é composed, é not", "{'not': json}",
    '{"json": [1, 2]}', "[1, 2, 3]", "null", "0", "1.50", "true", "NaN", "<b>bold</b> & more", "\u2028line separator",
    "back\\slash \\n", "\ufeffmark inside", "=1+1", "'", "a|b", "x" * 3000, "Human: said inside", "𝒜𝓈𝓉𝓇𝒶𝓁",
    "\x0b\x0cvertical",
)  # fmt: skip


class Odd:
    """Everything that it makes differs, so that nothing is one with another by chance."""

    def __init__(self, seed: int) -> None:
        self.random, self.n = random.Random(seed), 0

    def text(self, *, stripped: bool = False) -> str:
        self.n += 1
        text = f"{self.random.choice(TEXTS)} {self.n} {self.random.choice(TEXTS)}"
        return text.strip() if stripped else text

    def name(self) -> str:
        self.n += 1
        return f"{self.random.choice(('ann', 'Bérénice', '大輔', 'a b'))}-{self.n}"

    def messages(
        self, *, system: bool = True, turns: int | None = None, stripped: bool = False
    ) -> list[dict[str, str]]:
        found = (
            [{"role": "system", "content": self.text(stripped=stripped)}]
            if system and self.random.random() < 0.3
            else []
        )
        for _ in range(self.random.randint(0, 2) if turns is None else turns):
            found += [{"role": role, "content": self.text(stripped=stripped)} for role in ("user", "assistant")]
        return [*found, {"role": "user", "content": self.text(stripped=stripped)}]

    def moment(self) -> datetime:
        return datetime(2026, 1, 2, 3, 4, 5, 678900, tzinfo=UTC) + timedelta(seconds=self.random.randint(0, 10**6))

    def common(self, **fields: Any) -> dict[str, Any]:
        return {"messages": self.messages(), "judge": self.name(), "created_at": self.moment()} | fields

    def comparison(self, **fields: Any) -> NewComparison:
        winner = self.random.choice(("model_a", "model_b", "tie", "both_bad"))
        models = {"model_a": self.name(), "model_b": self.name()}
        return NewComparison(
            **{**self.common(), "a": self.text(), "b": self.text(), "winner": winner, **models, **fields}
        )

    def rating(self, **fields: Any) -> NewRating:
        choice = self.random.choice(
            ({"thumbs": True}, {"stars": 2}, {"thumbs": False, "stars": 1}, {"aspects": {"helpful": 5, "quality": 3}})
        )
        return NewRating(**{**self.common(), "text": self.text(), "model": self.name(), **choice, **fields})

    def ranking(self, **fields: Any) -> NewRanking:
        n = self.random.randint(2, 6)
        places = list(range(n))
        self.random.shuffle(places)
        order: list[tuple[int, ...]] = []
        while places:
            size = self.random.choice((1, 1, 2))
            order.append(tuple(sorted(places[:size])))
            places = places[size:]
        texts = tuple(self.text() for _ in range(n))
        return NewRanking(**{**self.common(), "texts": texts, "order": tuple(order), **fields})

    def demonstration(self, **fields: Any) -> NewDemonstration:
        return NewDemonstration(**{**self.common(), "text": self.text(), **fields})

    def prompt(self, **fields: Any) -> NewPrompt:
        return NewPrompt(**{"messages": self.messages(), **fields})

    def span(self, **fields: Any) -> NewSpan:
        text = self.text()
        return NewSpan(**{**self.common(), "text": text, "start": 1, "end": len(text) - 1, "label": "untrue", **fields})

    def flag(self, **fields: Any) -> NewFlag:
        return NewFlag(**{**self.common(), "text": self.text(), "reason": "spam", **fields})

    def attack(self, **fields: Any) -> NewAttack:
        messages = [*self.messages(stripped=True), {"role": "assistant", "content": self.text(stripped=True)}]
        scores = {"min_harmlessness_score": -1.25, "task_description_harmlessness_score": 0.5}
        given = {**self.common(messages=messages), "rating": 3.0, "tags": ("Theft",), "task_description": self.text()}
        return NewAttack(**{**given, "model": "rlhf 52B", **scores, **fields})

    def all_kinds(self) -> list[Item]:
        makers = (
            self.comparison, self.rating, self.ranking, self.demonstration, self.prompt, self.span, self.flag,
            self.attack,
        )  # fmt: skip
        return [make() for make in makers]
