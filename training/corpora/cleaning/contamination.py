"""No document that shares a passage with what ranks models: `common.passages` as a rule of cleaning."""

from __future__ import annotations

from common.passages import Passages
from training.corpora.cleaning.rules import Verdict


def judge(passages: Passages, text: str) -> Verdict:
    shared = passages.shared_with(text)
    return Verdict(text, "shares a passage", f"“{shared}”") if shared else Verdict(text)
