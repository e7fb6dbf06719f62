"""The stages of a turn, in order."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

from django.core.management import call_command
from django.db.models import QuerySet

from annotate.core.artefacts import local_copies
from annotate.language_models.actions import enter_arena
from annotate.models import AnnotatorKind, Comparison, Dataset, LanguageModel, Rating, Split
from annotate.simulation import accounts, session
from annotate.simulation.annotator import Annotator, taste_named
from evaluation.core import served_model
from evaluation.demo.pipeline_runs import dataset, finished_run
from evaluation.demo.plan import Report, Stage, Turn, TurnStopped
from evaluation.demo.training_stages import (
    corpus_name,
    finetune,
    gather_texts,
    learn_reward,
    learn_tokenizer,
    optimise,
    pretrain,
)
from evaluation.leaderboard import snapshots as leaderboard
from evaluation.metrics import fluency_figures as fluency
from evaluation.models import PromotionRule
from evaluation.promotion import actions, candidate_review
from evaluation.promotion.enrolment import rule_of
from evaluation.recipes import suite
from evaluation.sample.sample_project import sample_project
from evaluation.sample.sample_runs import complete_adapters
from training.core.bundled_model import NAME as BUNDLED_NAME

SUITE = f"suite {suite.NAME} {suite.VERSION}"  # as the recipe calls it


def import_model(turn: Turn, report: Report) -> str:
    name = BUNDLED_NAME if turn.plan.model == "bundled" else f"{turn.project.slug} base"
    turn.base = LanguageModel.objects.filter(name=name).first()
    if turn.base is None or turn.base.path is None or not local_copies.is_available(turn.base.path):
        report(0, 0, "converting its weights", None)
        call_command("import_model", turn.plan.model, name=name, stdout=io.StringIO())
        turn.base = LanguageModel.objects.get(name=name)
    enter_arena(project=turn.project, model=turn.base)
    if (sample := sample_project()) is not None:
        complete_adapters(sample)  # its models answer from now on
    size = f", {turn.base.parameters / 1e6:.0f} M parameters" if turn.base.parameters else ""
    return f"{turn.base.name}{size}"


def set_rule(turn: Turn, report: Report) -> str:
    """Set, before anything is known, what a model must show, so that no result can have chosen it."""
    rule = rule_of(turn.project)
    if rule is None:
        corpus = corpus_name(turn)
        rule = actions.set_rule(
            project=turn.project,
            by=turn.researcher,
            judge=AnnotatorKind.SIMULATION,
            # The simulated annotators share one taste, so that a second vote of one is like the first of another.
            first_votes_only=False,
            fewest_votes=turn.plan.fewest_votes,
            tolerances=[
                {"task": SUITE, "metric": "accuracy", "worst": turn.plan.worst_accuracy},
                {"task": corpus, "metric": "bits per byte", "worst": turn.plan.worst_bits},
                {"task": fluency.TASK, "metric": fluency.SURPRISE_ABOVE, "worst": turn.plan.worst_surprise},
            ],
            is_automatic=True,
            sampling=PromotionRule.Sampling.NEVER,  # the turn has them answered at the end, all in one way
        )
    return actions.in_words(rule).split(":")[0]


def answer_train_prompts(turn: Turn, report: Report) -> str:
    assert turn.base is not None
    run = finished_run(
        turn,
        report,
        kind="sample",
        name="base answers to annotate",
        parent=turn.base,
        dataset=dataset(turn, "prompts", "train prompts"),
        config={
            "completions_per_prompt": turn.plan.completions_per_prompt,
            **_room(turn),
        },
    )
    return f"{run.completions.count()} answers"


def annotate_answers(turn: Turn, report: Report) -> str:
    """Annotate in the train split by ratings and comparisons: what the models will learn from."""
    ratings = _simulated(Rating, turn, Split.TRAIN).count()
    comparisons = _simulated(Comparison, turn, Split.TRAIN).filter(battle=None).count()
    session.hold(
        turn.url,
        turn.project.slug,
        _people(turn, seed=ratings + comparisons),
        ratings=turn.plan.ratings - ratings,
        comparisons=turn.plan.comparisons - comparisons,
        on_progress=_further(report, ratings + comparisons, turn.plan.ratings + turn.plan.comparisons),
    )
    ratings = _simulated(Rating, turn, Split.TRAIN).count()
    comparisons = _simulated(Comparison, turn, Split.TRAIN).filter(battle=None).count()
    return f"{ratings} ratings, {comparisons} comparisons"


def answer_eval_prompts(turn: Turn, report: Report) -> str:
    prompts = dataset(turn, "prompts", "eval prompts", side="eval")
    total = 0
    models = (("base", turn.base), ("SFT", turn.sft), ("PPO", turn.ppo), ("pretrained", turn.pretrained))
    for label, model in models:
        assert model is not None
        enter_arena(project=turn.project, model=model)
        run = finished_run(
            turn,
            _of_model(report, label),
            kind="sample",
            name=f"{label} answers for the arena",
            parent=model,
            dataset=prompts,
            config={
                "completions_per_prompt": turn.plan.eval_completions_per_prompt,
                **_room(turn),
            },
        )
        total += run.completions.count()
    return f"{total} answers of four models to eval prompts"


def hold_battles(turn: Turn, report: Report) -> str:
    """Hold blind battles in the eval split. A vote that is held does not count, so more may be needed than planned."""
    for _ in range(4):
        n_votes = leaderboard.votes(turn.project, AnnotatorKind.SIMULATION).count()
        if n_votes >= turn.plan.battles:
            break
        session.hold(
            turn.url,
            turn.project.slug,
            _people(turn, seed=n_votes),
            battles=turn.plan.battles - n_votes,
            on_progress=_further(report, n_votes, turn.plan.battles),
        )
    n_votes = leaderboard.votes(turn.project, AnnotatorKind.SIMULATION).count()
    if not n_votes:
        page = turn.page(f"/p/{turn.project.slug}/arena/")
        raise TurnStopped(f"No arena vote counted; {page} shows why. Then start again.")
    return f"{n_votes} votes"


def measure_older_skills(turn: Turn, report: Report) -> str:
    """Measure what alignment has cost: the lineage on this project's suite, on texts that none of it was trained on,
    and how strange each model's answers are to its parent."""
    assert turn.corpus is not None
    figures = 0
    for label, model in (("base", turn.base), ("SFT", turn.sft), ("PPO", turn.ppo)):
        assert model is not None
        measured: list[tuple[str, Dataset | None, dict[str, Any]]] = [
            ("choices", None, {}),
            ("perplexity", turn.corpus, {"limit": turn.plan.texts_measured}),
        ]
        if model is not turn.base:
            measured.append(("fluency", None, {}))
        for measure, other, options in measured:
            run = finished_run(
                turn,
                _of_model(report, label),
                kind="evaluate",
                name=f"{measure} of {label}",
                parent=model,
                other_dataset=other,
                config={"measure": measure, **options},
            )
            figures += len(run.result.get("metrics", {}))
    return f"{figures} figures of three models, with intervals"


def decide(turn: Turn, report: Report) -> str:
    """Decide on promotion. The worker looks by itself, every few seconds; this does not wait for it."""
    candidate_review.look(turn.project)
    served = served_model.promoted(turn.project)
    return f"{served.model} is served by default" if served else "there is no default model yet"


def rank(turn: Turn, report: Report) -> str:
    board = leaderboard.current(project=turn.project, judge=AnnotatorKind.SIMULATION)
    best = LanguageModel.objects.get(pk=board.ratings["rows"][0]["model"])
    return f"{best} leads"


STAGES = (
    Stage("A language model", import_model, 25),
    Stage("Setting the promotion rule", set_rule, 1),
    Stage("The base answers the train prompts", answer_train_prompts, 160),
    Stage("Simulated annotators annotate", annotate_answers, 45),
    Stage("Finetuning on the best-rated answers", finetune, 90),
    Stage("Training a reward model on the annotations", learn_reward, 90),
    Stage("PPO with the reward model", optimise, 330),
    Stage("Cleaning the texts that come with Python", gather_texts, 15),
    Stage("Training a tokenizer on them", learn_tokenizer, 10),
    Stage("Pretraining a small model on them", pretrain, 150),
    Stage("All four models answer the eval prompts", answer_eval_prompts, 100),
    Stage("Blind battles in the arena", hold_battles, 30),
    Stage("The leaderboard", rank, 2),
    Stage("Measuring older skills and fluency", measure_older_skills, 150),
    Stage("The promotion rule decides", decide, 1),
)


def _room(turn: Turn) -> dict[str, int]:
    """Return the length that the project's page and settings show; whoever changes it there has later answers so."""
    return {"max_new_tokens": turn.project.max_new_tokens}


def _further(report: Report, before: int, n_needed: int) -> Callable[[int], None]:
    return lambda n_judged: report(before + n_judged, n_needed, "through the API", None)


def _of_model(report: Report, label: str) -> Report:
    return lambda done, total, note, ends_at: report(done, total, f"{label}: {note}", ends_at)


def _simulated(table: type[Any], turn: Turn, side: str) -> QuerySet[Any]:
    return table.objects.counted().by(AnnotatorKind.SIMULATION).on_split(side).filter(project=turn.project)


def _people(turn: Turn, seed: int) -> list[tuple[session.Account, Annotator]]:
    """Return the simulated people. `seed` differs when a turn is taken up again, or else everybody would repeat the
    same whims."""
    taste = taste_named(turn.plan.taste)
    people = accounts.simulated(turn.project, turn.plan.annotators)
    return [(person, Annotator(taste, seed=seed * 100 + number)) for number, person in enumerate(people)]
