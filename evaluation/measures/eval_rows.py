"""Collect what a measure is made on where no dataset is given: answers and annotations of the project's eval split.

Which file each measure finds in `data/` of its run directory:

    perplexity       texts.jsonl       {"id", "prompt": [messages], "text", "judge", "by_family"}
    overlap          references.jsonl  {"id", "prompt": [messages], "references": [texts], "judge"}
    choices          none: a suite, named in the config
    classification   none: its dataset lies in data/other/
    reward_accuracy, win_rate, fluency          what `evaluation.measures.preference_rows` lays down

With another dataset nothing is laid here: its rows lie in data/other/*.jsonl, for a task in items.jsonl
(`annotate.data.rows.task_items` has the forms).
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable

from annotate.data.datasets import best_answers, preferences
from annotate.models import Comparison, Completion, Demonstration, LanguageModel, Prompt, Rating, Split
from evaluation.leaderboard.snapshots import default_annotator_kind
from evaluation.measures import answer_rows, preference_rows
from training.core.run_directory import RecipeFailure, Row
from training.models import Run

FEWEST_ITEMS = 2
MOST_REFERENCES = 4  # of one prompt
Rows = dict[str, list[Row]]


def rows(run: Run) -> Rows:
    """Return what `training.runs.queue.preparation` lays into data/, by file name.

    Raises RecipeFailure when there is nothing to measure on.
    """
    if run.other_dataset is not None:
        return {}
    return _ROWS[run.config["measure"]](run)


def evaluated(run: Run) -> LanguageModel:
    assert run.parent is not None, "the queue takes no run without a parent"
    return run.parent


def texts(run: Run) -> Rows:
    """Return answers on the run's eval split with their prompts, the same for every model of one lineage."""
    judge = default_annotator_kind(run.project) if run.config["texts"] == "preferred" else ""
    completions = _preferred(run, judge) if judge else _of_first_ancestor(run)
    # One answer to a prompt: the interval takes texts for independent draws, and several to one prompt are not.
    by_prompt = {answer.prompt_id: answer for answer in sorted(completions, key=_by_hash, reverse=True)}
    chosen = sorted(by_prompt.values(), key=_by_hash)[: run.config["limit"]]
    if len(chosen) < FEWEST_ITEMS:
        raise RecipeFailure(
            "no_texts",
            f"There are {len(chosen)} answers of this kind in the eval split, too few to measure.",
            "Sample and annotate answers to eval prompts first (a sample run, then the arena), choose the other "
            "kind of texts, or measure on a dataset.",
        )
    family = family_of(evaluated(run))
    return {"texts": [{**_text(c, judge), "by_family": c.model_id in family} for c in chosen]}


def _text(completion: Completion, judge: str) -> Row:
    return {"id": completion.pk, "prompt": completion.prompt.messages, "text": completion.text, "judge": judge}


def references(run: Run) -> Rows:
    """Return eval prompts with good answers to them, several where there are: what people wrote, and what annotators
    liked.

    None is by the model or by its family (whatever comes from its first ancestor): a model that is set against its own
    answers is a parrot of itself, and its parent would beat every child that moved on. So the items are the same for
    every model of one lineage.
    """
    if run.config["texts"] == "first":
        return {"references": _laid(run, _answers_of_first(run), "")}
    judge = default_annotator_kind(run.project)
    family = family_of(evaluated(run))
    answers_by_prompt: dict[Prompt, list[str]] = defaultdict(list)
    for demonstration in _demonstrations(run, judge):
        if demonstration.edited_from is None or demonstration.edited_from.model_id not in family:
            answers_by_prompt[demonstration.prompt].append(demonstration.text)
    for answer in _preferred(run, judge, per_prompt=MOST_REFERENCES, excluded_models=family):
        answers_by_prompt[answer.prompt].append(answer.text)
    return {"references": _laid(run, answers_by_prompt, judge)}


def _laid(run: Run, answers_by_prompt: dict[Prompt, list[str]], judge: str) -> list[Row]:
    prompts = sorted(answers_by_prompt, key=lambda prompt: prompt.text_hash)[: run.config["limit"]]
    if len(prompts) < FEWEST_ITEMS:
        raise RecipeFailure(
            "no_references",
            f"There are {len(prompts)} eval prompts with a good answer that is not from {evaluated(run).name} or "
            "its family, too few to measure overlap.",
            "Ask people to write answers to eval prompts (under Annotate, or demonstrations through the API), enter a "
            "model of another family into the arena, or upload a task of references and choose it as the dataset.",
        )
    return [
        {
            "id": p.pk,
            "prompt": p.messages,
            "references": _different(answers_by_prompt[p])[:MOST_REFERENCES],
            "judge": judge,
        }
        for p in prompts
    ]


def _different(answers: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(text.strip() for text in answers))


def _answers_of_first(run: Run) -> dict[Prompt, list[str]]:
    """Return one answer of the first ancestor to each prompt, to measure how far the model has moved from it."""
    model = evaluated(run)
    first = first_ancestor(model)
    if first == model:
        raise RecipeFailure(
            "own_answers",
            f"{model.name} has no ancestor, so it would be compared with its own answers.",
            "Measure one of its descendants, or choose texts=preferred.",
        )
    answers = sorted(_of_first_ancestor(run), key=_by_hash, reverse=True)
    return {answer.prompt: [answer.text] for answer in answers}


def first_ancestor(model: LanguageModel) -> LanguageModel:
    first, visited = model, set()
    while first.parent is not None and first.pk not in visited:
        visited.add(first.pk)
        first = first.parent
    return first


def family_of(model: LanguageModel) -> set[int]:
    """Return the ids of all that comes from the model's first ancestor, itself and that one included."""
    numbers: set[int] = set()
    generation = {first_ancestor(model).pk, model.pk}
    while generation:
        numbers |= generation
        children = LanguageModel.objects.filter(parent__in=generation).values_list("pk", flat=True)
        generation = set(children) - numbers
    return numbers


def _by_hash(completion: Completion) -> str:
    """Return an order that favours no category and no author, and does not change as answers are added."""
    return hashlib.sha256(f"{completion.prompt.text_hash} {completion.text}".encode()).hexdigest()


def _demonstrations(run: Run, judge: str) -> Iterable[Demonstration]:
    demonstrations = Demonstration.objects.counted().by(judge).on_split(Split.EVAL).filter(project=run.project)
    return demonstrations.exclude(text="").select_related("prompt", "edited_from").order_by("pk")


def _preferred(run: Run, judge: str, per_prompt: int = 1, excluded_models: Collection[int] = ()) -> list[Completion]:
    """Return the best-rated answers to each eval prompt, whoever gave them except `excluded_models`; by people or by
    simulations, never both."""
    pairs, stars = (
        table.objects.counted().by(judge).on_split(Split.EVAL).filter(project=run.project)
        for table in (Comparison, Rating)
    )
    annotated = best_answers.answers_from(
        preferences.comparisons_from(
            pairs.values("prompt_id", "completion_a", "completion_b", "winner", "strength", "author")
        ),
        preferences.ratings_from(stars.values("completion", "thumbs", "stars", "author")),
    )
    answers = {pk: a for pk, a in _answers(run).in_bulk(annotated.keys()).items() if a.model_id not in excluded_models}
    best = best_answers.best(
        ((annotated[pk], answer.prompt_id, answer.text) for pk, answer in answers.items()),
        per_prompt=per_prompt,
        minimum=0.5,
    )
    return [answers[pk] for pk in best]


def _of_first_ancestor(run: Run) -> list[Completion]:
    return list(_answers(run).filter(model=first_ancestor(evaluated(run))))


def _answers(run: Run):
    """Return whole answers in the eval split: where a limit cut one off says nothing about the model."""
    answers = Completion.objects.filter(prompt__project=run.project, prompt__side=Split.EVAL)
    return answers.exclude(finish_reason="length").exclude(text="").select_related("prompt")


def _nothing(run: Run) -> Rows:
    return {}


_ROWS: dict[str, Callable[[Run], Rows]] = {
    "perplexity": texts,
    "overlap": references,
    "choices": _nothing,
    "classification": _nothing,
    "reward_accuracy": preference_rows.reward_rows,
    "win_rate": answer_rows.win_rate_rows,
    "fluency": answer_rows.fluency_rows,
}
