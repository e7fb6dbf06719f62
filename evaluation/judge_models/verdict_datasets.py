"""Freeze a judge model's verdicts into a dataset of preferences, which says everywhere that a model labelled it.

Only verdicts on prompts of the train split: the eval split ranks models and trains none. No vote of a person is in it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Count, Max, QuerySet

from annotate.core import audit
from annotate.core.errors import Refused
from annotate.core.events import announce_dataset
from annotate.data import frozen_rows
from annotate.data.datasets import preferences
from annotate.data.datasets.actions import checked_name, name_taken
from annotate.data.datasets.answer_texts import Tell, silent
from annotate.data.datasets.freezing import SMALL, queue_freeze
from annotate.data.datasets.selected_rows import completion_rows
from annotate.models import Dataset, DatasetFreeze, Split, User
from evaluation.judge_models.judged_pairs import JudgedPair, judged_pairs
from evaluation.models import Rubric, Verdict, VerdictDataset

MODEL = "model"  # Dataset.judge of a dataset that a judge model labelled
MOST = 500_000  # pairs: all of them are in memory at once
_WINNERS = {1.0: "model_a", 0.0: "model_b", 0.5: "tie"}


def order_verdicts_freeze(*, rubric: Rubric, name: str, by: User) -> Dataset | DatasetFreeze:
    """Return the new dataset of this version's verdicts so far, or the order by which the background worker freezes
    many. Refused as `freeze_verdicts` refuses."""
    last = _last(rubric)
    n = _count_pairs(rubric, _verdicts(rubric, last))
    if not SMALL < n <= MOST:
        return freeze_verdicts(rubric=rubric, name=name, by=by, last=last)
    project = rubric.judge.project
    return queue_freeze(
        project=project, created_by=by, name=checked_name(project, name, by), kind=Dataset.Kind.PREFERENCES,
        side=Split.TRAIN, judge=MODEL, options={"rubric": rubric.pk, "last_verdict": last},
    )  # fmt: skip


def freeze_ordered(order: DatasetFreeze, tell: Tell, and_then: Callable[[Dataset], None]) -> bool:
    """Freeze what was ordered, in the background; return whether it is verdicts."""
    if "rubric" not in order.options:
        return False
    rubric = Rubric.objects.select_related("judge__project").filter(pk=order.options["rubric"]).first()
    if rubric is None:
        raise Refused(409, verdicts="The judge's version is gone; its verdicts went with it.")
    freeze_verdicts(
        rubric=rubric, name=order.name, by=order.created_by, last=order.options["last_verdict"], tell=tell,
        and_then=and_then, was_allowed=True,
    )  # fmt: skip
    return True


def _last(rubric: Rubric) -> int:
    return rubric.verdicts.aggregate(last=Max("pk"))["last"] or 0


def _verdicts(rubric: Rubric, last: int) -> QuerySet[Verdict]:
    return rubric.verdicts.filter(prompt__side=Split.TRAIN, pk__lte=last)


def freeze_verdicts(
    *,
    rubric: Rubric,
    name: str,
    by: User | None,
    last: int | None = None,
    tell: Tell = silent,
    and_then: Callable[[Dataset], None] = lambda dataset: None,
    was_allowed: bool = False,
) -> Dataset:
    """Return a new dataset of preferences from the verdicts of this version, up to the one with the key `last`. Refused
    with `name`, or with `verdicts` where there are none in the train split, or more than `MOST`. `tell`,
    `and_then` and `was_allowed` are as `freeze` has them."""
    project = rubric.judge.project
    name = checked_name(project, name, None if was_allowed else by)
    last = _last(rubric) if last is None else last  # before the pairs: later verdicts are not in it
    verdicts = _verdicts(rubric, last)
    tell("reading verdicts", 0.0)
    pairs = _pairs_to_freeze(rubric, verdicts)
    rows = [_row(pair) for pair in pairs]
    tell("writing files", 0.5)
    completions = completion_rows({pk for pair in pairs for pk in pair.key}, tell=tell)
    files: dict[str, frozen_rows.Rows] = {"completions": completions, "comparisons": rows, "ratings": []}
    content_hash = frozen_rows.write(
        files, kind=Dataset.Kind.PREFERENCES, side=Split.TRAIN, before_storing=lambda: tell("storing files", 0.9)
    )
    tell("noting what it was made of", 0.95)
    counts = {"judge_model": str(rubric), "completions": len(completions), **_counts(rows)}
    try:
        with transaction.atomic():
            dataset = Dataset.objects.create(
                **{"project": project, "name": name, "kind": Dataset.Kind.PREFERENCES, "side": Split.TRAIN},
                **{"judge": MODEL, "content_hash": content_hash, "counts": counts, "created_by": by},
            )
            VerdictDataset.objects.create(dataset=dataset, rubric=rubric, last_verdict_id=last)
            about = f"{name} (preferences, train) by {rubric}"
            audit.record(action="dataset.frozen", about=about, by=by, project=project)
            announce_dataset(dataset)
            and_then(dataset)
    except IntegrityError as error:  # a double click: its twin came first
        raise name_taken(project, name) from error
    return dataset


def _pairs_to_freeze(rubric: Rubric, verdicts: QuerySet[Verdict]) -> list[JudgedPair]:
    if (n := _count_pairs(rubric, verdicts)) > MOST:
        raise Refused(
            400,
            verdicts=f"{rubric} has judged {n:,} pairs of the train split, and at most {MOST:,} are frozen at once; "
            f"add a version of the rubric and ask it about at most {MOST:,} pairs (limit).",
        )
    if not (pairs := judged_pairs(rubric, verdicts)):
        raise Refused(
            400, verdicts=f"{rubric} has judged no pair of the train split; ask it for verdicts there (split: train)."
        )
    return pairs


def _row(pair: JudgedPair) -> dict[str, Any]:
    """Return the row of a frozen comparison, by nobody."""
    return {
        **{"prompt_id": pair.prompt, "completion_a": pair.a, "completion_b": pair.b},
        **{"winner": _WINNERS[pair.points], "strength": None, "author": None},
    }


def _counts(rows: list[dict[str, Any]]) -> dict[str, Any]:
    told = preferences.informativeness(preferences.comparisons_from(rows), [], prompt_of={})
    return {
        **{"verdicts": len(rows), "comparisons": len(rows), "ratings": 0, "left_out": {}},
        **{"prompts": len({row["prompt_id"] for row in rows})},
        **{"winners": dict(Counter(row["winner"] for row in rows))},
        **{"telling": told.informative, "enough": told.enough, "sentence": told.sentence, "reason": told.reason},
    }


def _count_pairs(rubric: Rubric, verdicts: QuerySet[Verdict]) -> int:
    """Return how many pairs the verdicts are of, at most: n answers graded to a prompt make n (n - 1) / 2."""
    if rubric.form != Rubric.Form.SCALE:
        return verdicts.count()
    graded = verdicts.order_by().values("prompt").annotate(n=Count("pk")).values_list("n", flat=True)
    return sum(n * (n - 1) // 2 for n in graded)
