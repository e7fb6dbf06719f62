"""Collect the rows of a win rate and of fluency: answers of the eval split, and the votes on them."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from django.db.models import Q

from annotate.models import Comparison, Completion, LanguageModel, Split
from annotate.models.prompts import ARENA
from common.sampling import with_system_prompt
from evaluation.measures.preference_rows import JUDGES, Rows, Voters, by_hash, describe_judge
from training.core.run_directory import RecipeFailure, Row
from training.models import Run

SETTINGS = ("temperature", "top_p", "max_new_tokens")
FEWEST_VOTES = 2
FEWEST_PROMPTS = 2
OURS, THEIRS = "ours", "theirs"


# One model's answers against another's


def win_rate_rows(run: Run) -> Rows:
    """Raises RecipeFailure for an opponent that is none, and where there is nothing to judge."""
    opponent = _opponent(run)
    judge = run.config["judged_by"]
    return _votes(run, opponent) if judge in JUDGES else _answers(run, opponent, judge)


def fluency_rows(run: Run) -> Rows:
    """Return the answers of the model and of its parent to the same prompts. Raises RecipeFailure without a parent."""
    model = run.parent
    assert model is not None, "the queue takes no run without a parent"
    if model.parent is None or model.parent.kind != LanguageModel.Kind.POLICY:
        raise RecipeFailure(
            "no_parent",
            f"{model.name} has no parent that answers, so surprise cannot be measured.",
            "Measure a model that has a parent.",
        )
    return _answers(run, model.parent, judge="")


def _opponent(run: Run) -> LanguageModel:
    name, model = run.config["opponent"].strip(), run.parent
    assert model is not None, "the queue takes no run without a parent"
    language_model = LanguageModel.objects.of_projects([run.project]).filter(name=name).first()
    if model.kind != LanguageModel.Kind.POLICY:
        raise RecipeFailure("no_answers", f"{model.name} is a {model.kind}: it does not answer.", "Choose a policy.")
    if language_model is None:
        raise RecipeFailure(
            "unknown_opponent",
            f"{run.project.name} has no model {name!r}.",
            "Use the exact name of a model of this project as opponent.",
        )
    if language_model.pk == model.pk:
        raise RecipeFailure(
            "own_opponent", f"{name} would be compared with itself.", "Choose another model as opponent."
        )
    return language_model


def _votes(run: Run, opponent: LanguageModel) -> Rows:
    judge, model = JUDGES[run.config["judged_by"]], run.parent
    counted_votes = Comparison.objects.counted().ranking(judge).filter(project=run.project)
    is_between = Q(completion_a__model=model, completion_b__model=opponent) | Q(
        completion_a__model=opponent, completion_b__model=model
    )
    rows = list(
        counted_votes.filter(is_between).select_related("prompt", "completion_a", "completion_b").order_by("id")
    )
    if len(rows) < FEWEST_VOTES:
        raise RecipeFailure(
            "no_votes",
            f"{len(rows)} counted vote{'' if len(rows) == 1 else 's'} by {describe_judge(judge)} on eval prompts "
            f"compare {model} with {opponent}; at least {FEWEST_VOTES} are needed.",
            "Collect votes on them in the arena first, or choose another judged_by.",
        )
    voters = Voters()
    return {
        "votes": [_vote(c, model, voters) for c in rows],
        "about": [_about(run, opponent, judge=judge)],
    }


def _vote(c: Comparison, model: LanguageModel | None, voters: Voters) -> Row:
    ours_first = c.completion_a.model_id == (model.pk if model else None)
    own_completion, opponent_completion = (
        (c.completion_a, c.completion_b) if ours_first else (c.completion_b, c.completion_a)
    )
    winners = {"model_a": OURS if ours_first else THEIRS, "model_b": THEIRS if ours_first else OURS}
    return {
        "id": c.pk,
        "prompt_id": c.prompt_id,
        "prompt": c.prompt.messages,
        "category": c.prompt.category,
        "answer": own_completion.text,
        "other": opponent_completion.text,
        "winner": winners.get(c.winner, c.winner),
        "ours_first": ours_first,
        "voter": voters.number({"id": c.pk, "author": c.author_id, "visitor": c.visitor}),
    }


def _answers(run: Run, opponent: LanguageModel, judge: str) -> Rows:
    """Return both models' answers to the same prompts, drawn with the same settings; several of one prompt all
    count."""
    assert run.parent is not None
    to_others = judge == "endpoint"
    completions = Completion.objects.filter(prompt__project=run.project, prompt__side=Split.EVAL)
    asked_in_the_arena = 0
    if to_others:  # what a visitor asked is between them and the reviewers: it leaves this site for no judge
        asked_in_the_arena = completions.filter(model=run.parent, prompt__source=ARENA).count()
        completions = completions.exclude(prompt__source=ARENA)
    by_setting = {
        side: _by_setting(completions.filter(model=model).select_related("prompt").order_by("pk"))
        for side, model in ((OURS, run.parent), (THEIRS, opponent))
    }
    setting = _common_setting(run.parent, opponent, by_setting[OURS], by_setting[THEIRS])
    own_answers, opponent_answers = by_setting[OURS][setting], by_setting[THEIRS][setting]
    if not judge:  # the parent answers again for each experiment: its newest ones, as many as the model has
        opponent_answers = {
            pk: of_prompt[-len(own_answers[pk]) :] for pk, of_prompt in opponent_answers.items() if pk in own_answers
        }
    prompts = by_hash((own_answers[pk][0].prompt.text_hash, pk) for pk in own_answers.keys() & opponent_answers.keys())
    rows = [
        _answer(completion, side)
        for pk in prompts[: run.config["limit"]]
        for side, answers in ((OURS, own_answers[pk]), (THEIRS, opponent_answers[pk]))
        for completion in answers
    ]
    left_out = {"prompts that both answered, above the limit": max(0, len(prompts) - run.config["limit"])}
    left_out |= {"answers to visitors' questions in the arena": asked_in_the_arena}
    left_out = {reason: n for reason, n in left_out.items() if n}
    about = _about(run, opponent, judge=judge, settings=json.loads(setting), left_out=left_out)
    return {"answers": rows, "about": [about]}


Answers = dict[int, list[Completion]]  # of one setting, by prompt


def _by_setting(completions: Iterable[Completion]) -> dict[str, Answers]:
    answers: dict[str, Answers] = defaultdict(lambda: defaultdict(list))
    for completion in completions:
        setting = {name: completion.sampling.get(name) for name in SETTINGS if name in completion.sampling}
        answers[json.dumps(setting, sort_keys=True)][completion.prompt_id].append(completion)
    return answers


def _common_setting(
    model: LanguageModel, opponent: LanguageModel, own_answers: dict[str, Answers], opponent_answers: dict[str, Answers]
) -> str:
    """Return the one under which most prompts were answered by both. Raises RecipeFailure saying who lacks answers."""
    shared = {
        setting: len(own_answers[setting].keys() & opponent_answers[setting].keys())
        for setting in own_answers.keys() & opponent_answers.keys()
    }
    best = max(sorted(shared), key=lambda setting: shared[setting], default="")
    if best and shared[best] >= FEWEST_PROMPTS:
        return best
    text = " ".join(_has(m, answers) for m, answers in ((model, own_answers), (opponent, opponent_answers)))
    lacking = min(((model, own_answers), (opponent, opponent_answers)), key=lambda pair: _prompts(pair[1]))[0]
    raise RecipeFailure(
        "no_answers",
        f"{text} {shared.get(best, 0)} prompts have answers of both with the same settings; at least {FEWEST_PROMPTS} "
        "are needed.",
        f"Start a sample run of {lacking.name} on a dataset of the project's eval prompts, with the settings of the "
        "other model's answers.",
    )


def _has(model: LanguageModel, answers: dict[str, Answers]) -> str:
    if not answers:
        return f"{model.name} has no answers to eval prompts."
    text = ", ".join(f"{len(prompts)} with {_in_words(setting)}" for setting, prompts in sorted(answers.items()))
    return f"{model.name} has answers to {_prompts(answers)} eval prompts ({text})."


def _prompts(answers: dict[str, Answers]) -> int:
    return len({pk for prompts in answers.values() for pk in prompts})


def _in_words(setting: str) -> str:
    body = json.loads(setting)
    return ", ".join(f"{name} {value}" for name, value in body.items()) or "unknown settings"


def _answer(completion: Completion, side: str) -> Row:
    prompt = completion.prompt.messages
    return {
        "prompt_id": completion.prompt_id,
        "prompt": prompt,
        "answered_to": with_system_prompt(prompt, completion.sampling.get("system_prompt", "")),
        "has_reasoning": bool(completion.reasoning),
        "category": completion.prompt.category,
        "whose": side,
        "text": completion.text,
        "cut_off": completion.finish_reason == "length",
    }


def _about(run: Run, opponent: LanguageModel, *, judge: str, **more: Any) -> Row:
    model = run.parent
    assert model is not None
    return {
        "model": model.name,
        "opponent": opponent.name,
        "judge": judge,
        "reward_model": run.reward_model.name if run.reward_model else "",
        "taught": [m.name for m in (model, opponent) if _was_taught_by(m, run.reward_model)],
        "settings": {},
        "left_out": {},
        **more,
    }


def _was_taught_by(model: LanguageModel | None, reward_model: LanguageModel | None) -> bool:
    """Return whether it, or an ancestor, was trained to score high with this very reward model."""
    seen_ids: set[int] = set()
    while reward_model is not None and model is not None and model.pk not in seen_ids:
        seen_ids.add(model.pk)
        maker: Run | None = model.maker
        if maker is not None and reward_model in maker.reward_models:
            return True
        model = model.parent
    return False
