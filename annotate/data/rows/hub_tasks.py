"""Name the columns and labels of well-known labelled datasets on the Hugging Face hub. Pure: no Django.

Any other name works, too, with --task, --columns and --labels said by hand.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class HubTask:
    path: str
    config: str = ""
    task: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    nested: Mapping[str, str] = field(default_factory=dict)  # ours: a path into the row, such as answers.text.0
    constants: Mapping[str, str] = field(default_factory=dict)

    def flattened(self, row: dict[str, Any]) -> dict[str, Any]:
        return row | {name: _at(row, path) for name, path in self.nested.items()} | dict(self.constants)


_SENTIMENT = {"0": "negative", "1": "positive"}
_NLI = {"0": "entailment", "1": "neutral", "2": "contradiction"}
_LANGUAGES = {"source_language": "English", "target_language": "German"}
KNOWN = {
    "glue/sst2": HubTask("nyu-mll/glue", "sst2", "sentiment", {"text": "sentence"}, _SENTIMENT),
    "imdb": HubTask("stanfordnlp/imdb", "", "sentiment", {}, _SENTIMENT),
    "glue/mnli": HubTask("nyu-mll/glue", "mnli", "nli", {}, _NLI),
    "snli": HubTask("stanfordnlp/snli", "", "nli", {}, _NLI),
    "squad": HubTask("rajpurkar/squad", "", "question_answering", nested={"answer": "answers.text.0"}),
    "xsum": HubTask("EdinburghNLP/xsum", "", "summarisation", {"text": "document"}),
    "cnn_dailymail": HubTask(
        "abisee/cnn_dailymail", "3.0.0", "summarisation", {"text": "article", "summary": "highlights"}
    ),
    "wmt16/de-en": HubTask(
        "wmt/wmt16",
        "de-en",
        "translation",
        nested={"source": "translation.en", "target": "translation.de"},
        constants=_LANGUAGES,
    ),
    "commonsense_qa": HubTask("tau/commonsense_qa", "", "commonsense", {"answer": "answerKey"}),
    "ag_news": HubTask(
        "fancyzhx/ag_news",
        "",
        "classification",
        {},
        {"0": "world", "1": "sports", "2": "business", "3": "science and technology"},
    ),
}


def hub_task(name: str) -> HubTask:
    """Return the task; for an unknown name `owner/name` or `owner/name:config` as it stands."""
    if name in KNOWN:
        return KNOWN[name]
    path, _, config = name.partition(":")
    return HubTask(path, config)


def _at(row: Any, path: str) -> Any:
    for step in path.split("."):
        if isinstance(row, list):
            row = row[int(step)] if int(step) < len(row) else None
        elif isinstance(row, dict):
            row = row.get(step)
    return row
