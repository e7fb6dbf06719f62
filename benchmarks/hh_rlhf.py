"""hh-rlhf's transcripts as the rows of a reward run's dataset.

Anthropic's pairs are two transcripts with a common beginning (2204.05862). Where both end in one answer to the same
prompt, that is the pair; in a few they part earlier, and then what follows the last common turn of the person is the
answer, further turns included.
"""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path
from typing import Any

TURN = re.compile(r"\n\n(Human|Assistant): ?")
ROLES = {"Human": "user", "Assistant": "assistant"}
Row = dict[str, Any]


def rows(path: Path, most: int | None = None) -> dict[str, list[Row]]:
    """`completions` and `comparisons` of a JSONL file, gzipped or not, in its order."""
    open_text = gzip.open if path.suffix == ".gz" else open
    completions: list[Row] = []
    comparisons: list[Row] = []
    numbers: dict[str, int] = {}
    with open_text(path, "rt", encoding="utf-8") as file:
        for line in list(file)[:most]:
            pair = json.loads(line)
            prompt, *answers = _split(turns(pair["chosen"]), turns(pair["rejected"]))
            number = numbers.setdefault(json.dumps(prompt), len(numbers))
            first = len(completions)
            for text in answers:
                completions.append({"id": len(completions), "prompt_id": number, "prompt": prompt, "text": text})
            comparisons.append(
                {"prompt_id": number, "completion_a": first, "completion_b": first + 1, "winner": "model_a"}
            )
    return {"completions": completions, "comparisons": comparisons}


def turns(text: str) -> list[Row]:
    parts = TURN.split(text)[1:]
    return [{"role": ROLES[role], "content": said.strip()} for role, said in zip(parts[::2], parts[1::2], strict=True)]


def transcript(text: str) -> tuple[list[Row], str]:
    """(messages up to the last answer, that answer)."""
    rows = turns(text)
    return rows[:-1], rows[-1]["content"]


def _split(chosen: list[Row], rejected: list[Row]) -> tuple[list[Row], str, str]:
    """(messages up to a turn of the person, what follows in each)."""
    common = 0
    while common < min(len(chosen), len(rejected)) - 1 and chosen[common] == rejected[common]:
        common += 1
    while common > 1 and chosen[common - 1]["role"] != "user":
        common -= 1
    return chosen[:common], _rest(chosen[common:]), _rest(rejected[common:])


def _rest(following: list[Row]) -> str:
    """An answer as it stands; turns after it with their speakers."""
    names = {role: name for name, role in ROLES.items()}
    return "\n\n".join(
        said["content"] if i == 0 else f"{names[said['role']]}: {said['content']}" for i, said in enumerate(following)
    )
