"""Describe kinds of uploaded datasets, and what an upload did, in words."""

from __future__ import annotations

from typing import Any, cast

from annotate.data.uploads.uploaded_rows import Uploaded

KIND_WORDS = {
    "sft": (
        "Demonstrations",
        "Chats, prompts with their completions, or instructions with their outputs, for supervised finetuning.",
    ),
    "labelled": ("Labelled texts", "Texts with labels or answers, for a classifier and for instructions."),
    "corpus": (
        "Raw texts",
        "Documents for pretraining, domain adaptation or anomaly detection; one in twenty is held out.",
    ),
    "task": (
        "Task",
        "Items with their right answers, to evaluate models. They train no model.",
    ),
}


def upload_message(uploaded: Uploaded) -> str:
    dataset = cast(Any, uploaded.dataset)
    if not uploaded.is_new:
        return f"The same rows are already frozen as {dataset.name}."
    parts = [f"{dataset.name} is frozen: {uploaded.rows:,} rows."]
    parts += [f"Left out: {n:,} {reason}." for reason, n in uploaded.left_out.items()]
    if uploaded.bad_count:
        first = uploaded.bad[0]
        parts.append(
            f"{uploaded.bad_count:,} lines could not be used. The first is line {first.line}: it {first.reason}"
        )
    if uploaded.ignored_columns:
        parts.append(f"Ignored columns: {', '.join(sorted(map(str, uploaded.ignored_columns)))}.")
    return " ".join(parts)
