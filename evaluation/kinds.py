"""The kind of run that evaluates: which texts a model is measured on, and what is written when it ends."""

from __future__ import annotations

import hashlib
from typing import Any

from annotate import best_answers, preferences
from annotate.models import Comparison, Completion, LanguageModel, Rating, Side
from evaluation import export_page, surprise_page
from evaluation.leaderboard import default_judge
from evaluation.models import Evaluation
from training import kind_pages
from training.kinds import Kind, register_kind
from training.models import Run
from training.run_directory import RecipeFailure, Row, RunDirectory

FEWEST_TEXTS = 2


def register() -> None:
    kind_pages.CONTEXT["surprise"] = surprise_page.context
    kind_pages.CONTEXT["export"] = export_page.context
    register_kind(
        Kind(
            "evaluate",
            "Evaluation",
            "evaluation.recipes.evaluate",
            parent_kinds=("policy", "reward", "classifier"),
            other_kinds=("task", "corpus", "labelled", "sft", "preferences"),
            other_purpose="what to measure on; none: this project's own answers on the eval side",
            train_side_only=False,
            takes_reward_model=True,
            needs_reward_model=False,
            sees_training_data=True,
            purpose="How good a model is: perplexity, overlap with references, choices between endings, "
            "classification, agreement with judges, win rate.",
            record=record,
            rows=texts,
        )
    )
    register_kind(
        Kind(
            "surprise",
            "Abnormal texts",
            "evaluation.recipes.surprise",
            dataset_kind="corpus",
            other_kinds=("corpus",),
            other_purpose="foreign texts to tell apart; none leaves spoilt copies alone",
            compares_with_ancestor=True,
            purpose="How well a model of a domain tells foreign and spoilt texts from its own, by its surprise.",
            record=record,
        )
    )
    register_kind(
        Kind(
            "label",
            "Labels",
            "training.recipes.label",
            parent_kinds=("classifier",),
            purpose="A classifier tried on a few texts: the label of each, with its probability.",
        )
    )
    register_kind(
        Kind(
            "export",
            "Export",
            "training.recipes.export",
            parent_kinds=("policy", "reward", "encoder", "seq2seq", "classifier", "tokenizer"),
            purpose="A model with its card as files for other programs: GGUF, or its folder; or onto a hub.",
            rows=export_page.card,
            fits=export_page.fits,
        )
    )


def texts(run: Run) -> dict[str, list[Row]]:
    """Answers on the run's eval side with their prompts, the same for every model of one lineage."""
    judge = default_judge(run.project) if run.config["texts"] == "preferred" else ""
    found = _preferred(run, judge) if judge else _of_first_ancestor(run)
    # One answer to a prompt: the interval takes texts for independent draws, and several to one prompt are not.
    by_prompt = {answer.prompt_id: answer for answer in sorted(found, key=_by_hash, reverse=True)}
    chosen = sorted(by_prompt.values(), key=_by_hash)[: run.config["limit"]]
    if len(chosen) < FEWEST_TEXTS:
        raise RecipeFailure(
            "no_texts",
            f"There are {len(chosen)} answers of that sort on the eval side, too few to measure anything.",
            "Have answers to eval prompts sampled and judged first (a sample run, then the arena), or choose the "
            "other kind of texts.",
        )
    return {"texts": [{"id": c.pk, "prompt": c.prompt.messages, "text": c.text, "judge": judge} for c in chosen]}


def _by_hash(completion: Completion) -> str:
    """An order that favours no category and no author, and does not change as answers are added."""
    return hashlib.sha256(f"{completion.prompt.text_hash} {completion.text}".encode()).hexdigest()


def _preferred(run: Run, judge: str) -> list[Completion]:
    """The best-judged answer to each eval prompt, whoever gave it; by people or by simulations, never both."""
    pairs, stars = (
        table.objects.counted().by(judge).on_side(Side.EVAL).filter(project=run.project)
        for table in (Comparison, Rating)
    )
    judged = best_answers.judged(
        preferences.comparisons_from(
            pairs.values("prompt_id", "completion_a", "completion_b", "winner", "strength", "author")
        ),
        preferences.ratings_from(stars.values("completion", "thumbs", "stars", "author")),
    )
    answers = _answers(run).in_bulk(judged.keys())
    best = best_answers.best(
        ((judged[pk], answer.prompt_id, answer.text) for pk, answer in answers.items()), per_prompt=1, minimum=0.5
    )
    return [answers[pk] for pk in best]


def _of_first_ancestor(run: Run) -> list[Completion]:
    first, seen = _evaluated(run), set()
    while first.parent is not None and first.pk not in seen:
        seen.add(first.pk)
        first = first.parent
    return list(_answers(run).filter(model=first))


def _answers(run: Run):
    """Whole answers on the eval side: where a limit cut one off says nothing about the model."""
    answers = Completion.objects.filter(prompt__project=run.project, prompt__side=Side.EVAL)
    return answers.exclude(finish_reason="length").exclude(text="").select_related("prompt")


def record(run: Run, directory: RunDirectory) -> None:
    write_metrics(run, _evaluated(run))


def _evaluated(run: Run) -> LanguageModel:
    assert run.parent is not None, "the queue takes no run without a parent"
    return run.parent


def write_metrics(run: Run, model: LanguageModel) -> list[Evaluation]:
    """One Evaluation for each figure of the result; none a second time for the same run and model."""
    if Evaluation.objects.filter(run=run, model=model).exists():
        return []
    signature = signature_of(run)
    return Evaluation.objects.bulk_create(
        Evaluation(
            project=run.project,
            model=model,
            run=run,
            metric=name[:60],
            value=figure["value"],
            standard_error=figure.get("standard_error"),
            lower=figure.get("lower"),
            upper=figure.get("upper"),
            n=figure.get("n") or 0,
            signature=signature,
        )
        for name, figure in _figures(run.result)
    )


def signature_of(run: Run) -> str:
    """All that it takes to get the figure again."""
    dataset = ""
    if run.dataset is not None:
        by = f" by {run.dataset.judge}" if run.dataset.judge else ""
        dataset = f"dataset {run.dataset.content_hash[:12]}{by}"
    made_by = f"run {run.pk}, seed {run.seed}, code {run.code_version or 'unknown'}"
    parts = [str(run.result.get("signature", "")), dataset, made_by]
    return "; ".join(part for part in parts if part)[:500]


# Where recipes put their figures, and what these are called here. `longer` is the null of a reward model: how well
# it would do by always taking the longer answer.
_PLACES = {"metrics": "{}", "held_out": "held-out {}", "longer": "held-out {} of the longer answer"}


def _figures(result: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """The entries that hold a number; a recipe writes None for what its data did not allow."""
    return [
        (named.format(name.replace("_", " ")), entry)
        for place, named in _PLACES.items()
        if isinstance(result.get(place), dict)
        for name, entry in result[place].items()
        if isinstance(entry, dict) and entry.get("value") is not None
    ]
