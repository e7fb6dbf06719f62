"""No document that shares a passage with what ranks models: `annotate.passages` as a rule of cleaning."""

from __future__ import annotations

from annotate.passages import Passages
from training.corpus.rules import Verdict


def judge(known: Passages, text: str) -> Verdict:
    shared = known.shared_with(text)
    return Verdict(text, "shares a passage", f"“{shared}”") if shared else Verdict(text)
