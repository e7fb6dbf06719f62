"""Keep out of training rows that ask what ranks models asks, or whose prompt is in the eval split."""

from __future__ import annotations

import itertools
from typing import Any

from annotate.models import Completion, Project, Prompt, Split
from common import splits
from common.passages import Passages, passages_of

FALLS = "whose prompt is in the eval split"
ASKS = "that contain a prompt of the eval split"
SHARES = "that share a passage with a text of the eval split"


class EvalPrompts:
    """The texts of a project's eval split, read when the first row asks."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self._texts: set[str] | None = None
        self._passages: Passages | None = None

    def keeps_out(self, row: dict[str, Any]) -> str:
        """Return why a row must not train, to follow its count: "3 whose prompt …"; empty when it may."""
        if "prompt" in row:
            if splits.split_of(row["prompt"], self.project.eval_percent) == splits.EVAL:
                return FALLS
            texts = [turn["content"] for turn in row["prompt"] if turn["role"] == "user"]
            return ASKS if any(splits.normalise(text) in self.texts for text in texts) else ""
        texts = [value for value in row.values() if isinstance(value, str)]
        if any(splits.normalise(text) in self.texts for text in texts):
            return ASKS
        return SHARES if any(self.passages.shared_with(text) for text in texts) else ""

    @property
    def passages(self) -> Passages:
        """Return the passages of prompts and answers alike: a corpus that holds an answer would make it likelier."""
        if self._passages is None:
            answers = Completion.objects.filter(prompt__project=self.project, prompt__side=Split.EVAL)
            texts = answers.values_list("text", flat=True).iterator()
            self._passages = passages_of(itertools.chain(self.texts, texts))
        return self._passages

    @property
    def texts(self) -> set[str]:
        if self._texts is None:
            prompts = Prompt.objects.filter(project=self.project, side=Split.EVAL)
            turns = (m["content"] for p in prompts.iterator() for m in p.messages if m["role"] == "user")
            self._texts = {splits.normalise(text) for text in turns}
        return self._texts
