"""Choose what a judge model is asked about, and lay it into the directory of its run.

items.jsonl  {"key", "prompt_id", "prompt", "a", "b", "text_a", "text_b"}, the answers by id, the lower one as A; on a
             scale {"key", "prompt_id", "prompt", "a", "text_a"}; with "verdict_id" where the judge is asked again
about.jsonl  one line: {"rubric_id", "rubric", "form", "seen", "unseen", "same_texts"}

Pairs that people compared are all taken. Of the others, each two models in the arena with their first answers to a
prompt, a part is taken by hash, so that no prompt and no pair of models is favoured: the rating by both rests on
people's pairs being like these. Questions that visitors asked in the arena leave this site for no judge.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations, groupby

from django.db.models import F

from annotate.models import AnnotatorKind, Comparison, Completion, LanguageModel, Project
from annotate.models.prompts import ARENA, RED_TEAM
from common.judging import rubrics
from common.texts import is_storable
from evaluation.models import JudgeModel, Rubric
from training.core.kinds import Order
from training.core.run_directory import RecipeFailure, Row
from training.models import Run

PRIVATE = (ARENA, RED_TEAM)  # sources of prompts that no judge is asked about
KINDS_OF_ANNOTATORS = {"people": AnnotatorKind.PERSON, "simulation": AnnotatorKind.SIMULATION}
_AT_ONCE = 500

Pair = tuple[int, int]


def rubric_of(project: Project, name: str, version: int) -> Rubric | None:
    """Return a judge's rubric by its version; 0 is the newest."""
    found = Rubric.objects.filter(judge__project=project, judge__name=name).select_related("judge__model")
    return found.filter(version=version).first() if version else found.first()


def suits(order: Order) -> dict[str, str]:
    """Return what of an order of verdicts is wrong, by field."""
    config = order.config
    name = config.judge.strip() if is_storable(config.judge) else ""
    judge = JudgeModel.objects.filter(project=order.project, name=name).first()
    if judge is None:
        return {"config.judge": f"{order.project.name} has no judge model {config.judge!r:.120}; add it first."}
    if judge.retired_at or judge.model.retired_at:
        return {"config.judge": f"{judge.name} is retired; bring it back, or use another judge model."}
    if rubric_of(order.project, judge.name, config.version) is None:
        return {"config.version": f"{judge.name} has no version {config.version} of its rubric; use 0 for the newest."}
    return {}


def asked_model(run: Run) -> dict[str, LanguageModel]:
    """Return the model that a run of verdicts asks, as its role."""
    return {"judge": _rubric_of_run(run).judge.model}


def _rubric_of_run(run: Run) -> Rubric:
    rubric = rubric_of(run.project, run.config["judge"].strip(), run.config["version"])
    if rubric is None:
        raise RecipeFailure(
            "unknown_judge",
            f"{run.project.name} has no judge model {run.config['judge']!r:.120} with this version.",
            "Queue the run again with a judge model of the project.",
        )
    return rubric


def rows(run: Run) -> dict[str, list[Row]]:
    """Return what the run asks about. Raises RecipeFailure where there is nothing that the judge has not judged."""
    rubric, config = _rubric_of_run(run), run.config
    if config["items"] == "asked":
        return _rows_asked_again(run, rubric)
    seen = seen_pairs(run.project, config["split"], _kind_of(run))
    chosen = [] if config["items"] == "unseen" else sorted(seen)
    known = _judged(rubric)
    if rubric.form == rubrics.PAIRWISE:
        chosen = [pair for pair in chosen if pair not in known]
    others: list[Pair] = []
    if config["items"] != "seen":
        new = (keyed for keyed in _other_pairs(run.project, config["split"]) if keyed[1] not in seen)
        others = [pair for _, pair in heapq.nsmallest(config["limit"], _unjudged(rubric, new, known))]
    items = list(_items(rubric.form, [*chosen, *others], known))
    if not items:
        raise RecipeFailure(
            "no_items",
            f"There is nothing in the {config['split']} split that {rubric} has not judged.",
            "Collect comparisons, or sample answers of two models in the arena to the same prompts; then queue it "
            "again.",
        )
    same = sum(item["text_a"].strip() == item["text_b"].strip() for item in items if "text_b" in item)
    about = {"rubric_id": rubric.pk, "rubric": rubric.text, "form": rubric.form, "same_texts": same}
    return {"items": items, "about": [about | {"seen": len(chosen), "unseen": len(others)}]}


def _rows_asked_again(run: Run, rubric: Rubric) -> dict[str, list[Row]]:
    """Return what this version has judged before, at most `limit` questions of it: first what people voted on, then by
    hash. On a scale the hash is the prompt's, so that answers meet that are compared."""
    voted = {pk for pair in seen_pairs(run.project, run.config["split"], _kind_of(run)) for pk in pair}
    judged = rubric.verdicts.filter(prompt__side=run.config["split"], prompt__out_since=None)
    judged = judged.exclude(prompt__source__in=PRIVATE).exclude(a_first="", grade=None)  # two equal texts
    columns = ("pk", "prompt_id", "completion_a_id", "completion_b_id")

    def place(row: tuple[int, int, int, int | None]) -> tuple[bool, str, int]:
        pk, prompt, *answers = row
        lot = hashlib.sha256(f"{run.pk} {prompt if rubric.form == rubrics.SCALE else pk}".encode()).hexdigest()
        return not voted.issuperset(answer for answer in answers if answer is not None), lot, pk

    chosen = heapq.nsmallest(run.config["limit"], judged.values_list(*columns).iterator(10_000), key=place)
    verdicts = {tuple(answer for answer in row[2:] if answer is not None): row[0] for row in chosen}
    by_key = {"-".join(map(str, answers)): pk for answers, pk in verdicts.items()}
    items = [{**item, "verdict_id": by_key[item["key"]]} for item in _items(rubric.form, list(verdicts), set())]
    if not items:
        raise RecipeFailure(
            "no_items",
            f"There is nothing in the {run.config['split']} split that {rubric} has judged.",
            "Ask it about pairs first, and again later.",
        )
    about = {"rubric_id": rubric.pk, "rubric": rubric.text, "form": rubric.form, "same_texts": 0}
    return {"items": items, "about": [about | {"seen": 0, "unseen": 0}]}


def _kind_of(run: Run) -> str:
    return KINDS_OF_ANNOTATORS[run.config["annotators"]]


def seen_pairs(project: Project, split: str, kind: str) -> set[Pair]:
    """Return the pairs of answers that annotators of this kind have compared, by ids of the answers."""
    counted = Comparison.objects.counted().by(kind).on_split(split).filter(project=project, prompt__out_since=None)
    # Without those on whole conversations, whose answers have different turns before them.
    same_prompt = counted.filter(completion_a__prompt=F("completion_b__prompt"))
    pairs = same_prompt.exclude(prompt__source__in=PRIVATE).values_list("completion_a", "completion_b")
    return {(min(pair), max(pair)) for pair in pairs}


def _judged(rubric: Rubric) -> set[Pair] | set[int]:
    if rubric.form == rubrics.SCALE:
        return set(rubric.verdicts.values_list("completion_a", flat=True))
    return set(rubric.verdicts.values_list("completion_a", "completion_b"))


def _unjudged(
    rubric: Rubric, pairs: Iterable[tuple[str, Pair]], known: set[Pair] | set[int]
) -> Iterator[tuple[str, Pair]]:
    """Yield the pairs that still hold a question: on a scale, those of which an answer has no grade yet."""
    if rubric.form == rubrics.SCALE:
        return (keyed for keyed in pairs if not known.issuperset(keyed[1]))
    return (keyed for keyed in pairs if keyed[1] not in known)


def _other_pairs(project: Project, split: str) -> Iterator[tuple[str, Pair]]:
    """Yield each two models' first answers to a prompt, with a hash by which a part of them is chosen."""
    answers = (
        Completion.objects.filter(prompt__project=project, prompt__side=split, prompt__out_since=None)
        .filter(model__contests__project=project)
        .exclude(prompt__source__in=PRIVATE)
        .exclude(text="")
        .order_by("prompt_id", "pk")
        .values_list("prompt_id", "prompt__text_hash", "model_id", "pk")
    )
    for _, group in groupby(answers.iterator(10_000), key=lambda row: row[0]):
        first: dict[int, tuple[str, int]] = {}
        for _, text_hash, model, pk in group:
            first.setdefault(model, (text_hash, pk))
        for (one, (text_hash, a)), (other, (_, b)) in combinations(sorted(first.items()), 2):
            key = hashlib.sha256(f"{text_hash} {one} {other}".encode()).hexdigest()
            yield key, (min(a, b), max(a, b))


def _items(form: str, pairs: Sequence[tuple[int, ...]], known: set[Pair] | set[int]) -> Iterator[Row]:
    if form == rubrics.SCALE:
        answers = [pk for pk in dict.fromkeys(pk for pair in pairs for pk in pair) if pk not in known]
        for pk, text in _texts(answers).items():
            yield {
                **{"key": str(pk), "prompt_id": text["prompt_id"], "prompt": text["prompt"]},
                **{"a": pk, "text_a": text["text"]},
            }
        return
    for start in range(0, len(pairs), _AT_ONCE):
        part = pairs[start : start + _AT_ONCE]
        texts = _texts(dict.fromkeys(pk for pair in part for pk in pair))
        for a, b in part:
            yield {
                **{"key": f"{a}-{b}", "prompt_id": texts[a]["prompt_id"], "prompt": texts[a]["prompt"]},
                **{"a": a, "b": b, "text_a": texts[a]["text"], "text_b": texts[b]["text"]},
            }


def _texts(ids: Iterable[int]) -> dict[int, Row]:
    wanted, found = list(ids), {}
    for start in range(0, len(wanted), _AT_ONCE):
        completions = Completion.objects.filter(pk__in=wanted[start : start + _AT_ONCE])
        for pk, text, prompt, messages in completions.values_list("pk", "text", "prompt_id", "prompt__messages"):
            found[pk] = {"prompt_id": prompt, "prompt": messages, "text": text}
    return found
