"""The rows of a dataset of prompts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from annotate.core.db.key_lists import among
from annotate.data.datasets.answer_texts import RowsInParts, Tell, silent
from annotate.data.datasets.selected_rows import Options, Selection
from annotate.data.frozen_rows import Row, Rows
from annotate.models import Project, Prompt
from common.harm_kinds import UNRATED_TALK


def select_prompts(project: Project, side: str, options: Options, tell: Tell = silent) -> Selection:
    on_side = Prompt.objects.filter(project=project, side=side).exclude(out_reason=UNRATED_TALK)
    prompts = on_side.filter(out_since=None)
    in_use = prompts.count()
    retired = on_side.exclude(out_since=None).count()
    if options.categories is not None:
        prompts = prompts.filter(category__in=options.categories)
    if options.sources is not None:
        prompts = prompts.filter(source__in=options.sources)
    if options.prompts is not None:
        prompts = prompts.filter(pk__in=among(options.prompts))
    rows = list(prompts.values("id", "category", "text_hash", "answer"))
    matching = len(rows)
    if options.limit:
        # By hash: the same prompts whenever it is asked, and no category or author first.
        rows = sorted(sorted(rows, key=lambda row: row["text_hash"])[: options.limit], key=lambda row: row["id"])
    other = Prompt.objects.filter(project=project).exclude(side=side).count()
    return Selection(
        files={"prompts": _prompt_rows([row["id"] for row in rows], side, tell)},
        counts={
            "prompts": len(rows),
            **({"right_answers": answered} if (answered := sum(bool(row["answer"]) for row in rows)) else {}),
            "categories": dict(Counter(row["category"] or "none" for row in rows)),
            "left_out": {
                "in the other split": other,
                "not matching the filter": in_use - matching,
                "above the limit": matching - len(rows),
                "retired": retired,
            },
            "empty": f"No prompt in the {side} split matches; add prompts, or choose more categories.",
        },
        sources={"prompts": [row["id"] for row in rows]},
    )


def _prompt_rows(ids: Sequence[int], side: str, tell: Tell) -> Rows:
    def read(part: Sequence[int]) -> dict[int, Row]:
        # Of this split now: another text, while nothing depends on the prompt, may have moved it to the other one.
        prompts = Prompt.objects.filter(pk__in=part, side=side).order_by().values_list("id", "messages", "answer")
        return {
            pk: {"id": pk, "messages": messages, **({"answer": answer} if answer else {})}
            for pk, messages, answer in prompts
        }

    return RowsInParts((ids, read), tell=tell)
