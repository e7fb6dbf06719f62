from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from training.configs.options import option

MOST_TEXTS = 200
LONGEST = 100_000


@dataclass(frozen=True)
class LabelConfig:
    """A few texts, tried on a classifier. Whoever may read the run may read them."""

    kind: ClassVar[str] = "label"
    texts: str = option(
        "I would see this film again tomorrow.\nTwo hours that nobody will give me back.",
        "one on each line; whoever may read the run may read them",
        multiline=True,
    )

    def cross_check(self) -> dict[str, str]:
        lines = lines_of(self.texts)
        if not lines:
            return {"texts": "must hold a text; write one on each line."}
        if len(lines) > MOST_TEXTS or len(self.texts) > LONGEST:
            return {
                "texts": f"must be at most {MOST_TEXTS} texts and {LONGEST:,} characters, not {len(lines):,} and "
                f"{len(self.texts):,}; for more, pipe them into training.recipes.classify_predict."
            }
        return {}


def lines_of(texts: str) -> list[str]:
    return [line.strip() for line in texts.splitlines() if line.strip()]
