"""Report a cleaning: counts by rule and by source, the reasons, and a few texts of each, before and after."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from training.corpora.cleaning.rules import Rule, Verdict

Row = dict[str, Any]
SAMPLES = 3
SHOWN = 300
_MOST_REASONS = 12


class Report:
    """Count what cleaning removes and changes: plain data all the way down, so that a checkpoint can hold it."""

    def __init__(self, rules: Sequence[Rule], stored: Row | None = None) -> None:
        self.data: Row = stored or {
            "read": _nothing(),
            "kept": _nothing(),
            "train": _nothing(),
            "validation": _nothing(),
            "unreadable": 0,
            "rules": {
                rule.name: {
                    "title": rule.title,
                    "removed": _nothing(),
                    "changed": _nothing(),
                    "reasons": {},
                    "samples": [],
                    "changes": [],
                }
                for rule in rules
            },
            "sources": {},
        }

    def read(self, source: str, text: str) -> None:
        _add(self.data["read"], text)
        _add(self._source(source)["read"], text)

    def unreadable(self, source: str) -> None:
        self.data["unreadable"] += 1
        self._source(source)["unreadable"] += 1

    def removed(self, rule: str, source: str, verdict: Verdict) -> None:
        rule_counts = self.data["rules"][rule]
        _add(rule_counts["removed"], verdict.text)
        reasons = rule_counts["reasons"]
        reason = (
            verdict.drop_reason if verdict.drop_reason in reasons or len(reasons) < _MOST_REASONS else "another reason"
        )
        reasons[reason] = reasons.get(reason, 0) + 1
        removed = self._source(source)["removed"]
        removed[rule] = removed.get(rule, 0) + 1
        reason_text = f"{verdict.drop_reason}: {verdict.detail}" if verdict.detail else verdict.drop_reason
        _draw(
            rule_counts["samples"], verdict.text, {"source": source, "why": reason_text, "text": verdict.text[:SHOWN]}
        )

    def changed(self, rule: str, source: str, before: str, after: str) -> None:
        rule_counts = self.data["rules"][rule]
        rule_counts["changed"]["documents"] += 1
        rule_counts["changed"]["bytes"] += size(before) - size(after)
        old_excerpt, new_excerpt = around_the_change(before, after)
        _draw(rule_counts["changes"], before, {"source": source, "before": old_excerpt, "after": new_excerpt})

    def kept(self, source: str, text: str, file: str) -> None:
        for counts in (self.data["kept"], self.data[file], self._source(source)["kept"]):
            _add(counts, text)

    @property
    def kept_share(self) -> float:
        """Return the kept share of the bytes."""
        return self.data["kept"]["bytes"] / max(self.data["read"]["bytes"], 1)

    def finished(self) -> Row:
        """Return the report as `result.json` has it: lists in place of dictionaries, for a template to go through."""
        data = dict(self.data)
        data["rules"] = [
            {
                "name": name,
                **counts,
                "reasons": sorted(counts["reasons"].items(), key=lambda item: -item[1]),
                "samples": [sample for _, sample in counts["samples"]],
                "changes": [sample for _, sample in counts["changes"]],
            }
            for name, counts in data["rules"].items()
        ]
        data["sources"] = [{"source": name, **counts} for name, counts in data["sources"].items()]
        return data

    def _source(self, name: str) -> Row:
        fresh = {"read": _nothing(), "kept": _nothing(), "unreadable": 0, "removed": {}}
        return self.data["sources"].setdefault(name, fresh)


def size(text: str) -> int:
    return len(text.encode("utf-8", "replace"))


def around_the_change(before: str, after: str) -> tuple[str, str]:
    """Return both texts about the place where they begin to differ."""
    common = next(
        (i for i, (a, b) in enumerate(zip(before, after, strict=False)) if a != b), min(len(before), len(after))
    )
    start = max(common - 60, 0)
    mark = "…" if start else ""
    return mark + before[start : start + SHOWN], mark + after[start : start + SHOWN]


def _nothing() -> Row:
    return {"documents": 0, "bytes": 0}


def _add(counts: Row, text: str) -> None:
    counts["documents"] += 1
    counts["bytes"] += size(text)


def _draw(samples: list[list[Any]], text: str, sample: Row) -> None:
    """Keep the few with the smallest hashes: an even draw over all sources, and the same whenever it is repeated."""
    key = hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=8).hexdigest()
    if len(samples) == SAMPLES and key >= samples[-1][0]:
        return
    samples.append([key, sample])
    samples.sort(key=lambda pair: pair[0])
    del samples[SAMPLES:]
