"""A project that has one of everything, so that every address of the site has something to stand for."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.utils import timezone

from annotate.data.datasets.actions import freeze
from annotate.models import (
    ApiToken,
    Attack,
    Battle,
    DatasetFreeze,
    Delivery,
    Demonstration,
    Flag,
    GoldItem,
    Import,
    Invitation,
    Project,
    Ranking,
    Span,
    Talk,
    User,
    Webhook,
    WorkPackage,
)
from annotate.models.tokens import token_hash
from evaluation.annotator_quality.exclusion_effects import touched_by
from evaluation.models import Alert, Candidacy, Exclusion, Experiment, KeptFigures, Round, RoundSeries
from tests.support.evaluation.judges import make_judge
from tests.support.factories import (
    make_assignment,
    make_comparison,
    make_completion,
    make_contestant,
    make_guideline,
    make_model,
    make_prompt,
    make_rating,
    make_scale,
    make_token,
    make_user,
)
from training.models import Run

INVITED = "a-token-of-an-invitation"
PLAN = {
    **{"test": "a test", "baseline": "base", "family": "baseline", "alpha": 0.05, "seeds": [0, 1], "judge": "person"},
    **{
        "stop": {"votes": 10, "votes_per_pair": 10, "pairs": 1},
        "arms": [{"name": "base"}],
        "completions_per_prompt": 2,
    },
    **{"budget": {"unit": "", "amount": 0.0}, "parent": {"name": "base"}, "dataset": {"name": "judgements"}},
}

ROUND_PLAN = {
    **{
        "arm": {"method": "ppo", "name": "PPO", "config": {}, "drawing": {}},
        "reward_config": {},
        "starts": "newest",
        "older": "all",
        "older_weight": None,
    },
    **{
        "judge": "person",
        "rounds": 3,
        "judgements": 20,
        "answers_per_prompt": 2,
        "completions_per_prompt": 2,
        "votes": 10,
        "gain": 50.0,
    },
    **{"power": 0.1, "seconds": None, "accuracy_floor": None, "prompts": {"name": "train"}, "questions": {"name": "e"}},
}


def one_of_everything(project: Project) -> dict[str, Any]:
    """What an address may name, by the name that it has there."""
    owner = make_user(project, role="annotator")
    manager = make_user(project, role="manager")
    make_guideline(project)
    models = [make_model(is_shared=False, project=project) for _ in range(2)]
    for model in models:
        make_contestant(project, model)
    prompt = make_prompt(project)
    a, b = (make_completion(prompt, model=model) for model in models)
    rating, comparison = make_rating(a, owner), make_comparison(a, b, "model_a", owner)
    common = {"project": project, "prompt": prompt, "author": owner, "judge": "person"}
    fresh = make_prompt(project, "A question that is being judged")
    assignment = make_assignment(owner, make_completion(fresh), make_completion(fresh))
    battle = Battle.objects.create(
        **{"project": project, "prompt": prompt, "model_a": models[0], "model_b": models[1]},
        **{"completion_a": a, "completion_b": b, "user": owner},
    )
    make_comparison(a, b, "model_a", owner, battle=battle, source="arena", status="held")
    dataset = freeze(project=project, kind="prompts", name="prompts", by=None)
    run = Run.objects.create(
        project=project, kind="sft", name="run", parent=models[0], state="succeeded", output_model=models[1]
    )
    webhook = Webhook.objects.create(project=project, url="https://example.org/assay", secret="whsec_eA==")
    talk = Talk.objects.create(project=project, user=owner, model=models[0])
    attack = Attack.objects.create(**common, talk=talk, model=models[0], messages=prompt.messages, rating=2)
    make_token(owner)
    return {
        "project": project,
        "token": ApiToken.objects.get(user=owner),
        "owner": owner,
        "manager": manager,
        "model": models[0],
        "key": f"compare:{a.pk}:{b.pk}",
        "prompt": prompt,
        "completion": a,
        "rating": rating,
        "comparison": comparison,
        "demonstration": Demonstration.objects.create(**common, text="An answer of one's own."),
        "ranking": Ranking.objects.create(**common, order=[[a.pk], [b.pk]]),
        "span": Span.objects.create(**common, completion=a, start=0, end=3, label="untrue", text=a.text[:3]),
        "flag": Flag.objects.create(**common, completion=a, reason="other"),
        "assignment": assignment,
        "battle": battle,
        "dataset": dataset,
        "run": run,
        "webhook": webhook,
        "delivery": Delivery.objects.create(webhook=webhook, event="webhook.test", body={}),
        "talk": talk,
        "attack": attack,
        "invitation": _invitation(project, manager),
        "import": Import.objects.create(
            project=project, created_by=manager, format="hh-rlhf", source="file", file_name="f", file_hash="0", bytes=1
        ),
        "freeze": DatasetFreeze.objects.create(
            project=project, created_by=manager, name="Large", kind="prompts", side="train", judge="person"
        ),
        "figure": KeptFigures.objects.create(
            project=project, judge="person", what=KeptFigures.What.JUDGE_RATINGS, asked_at=timezone.now()
        ),
        "gold": GoldItem.objects.create(
            **{"project": project, "kind": "compare", "prompt": prompt, "completion_a": a, "completion_b": b},
            expected={"winner": ["model_a"]},
        ),
        "package": WorkPackage.objects.create(project=project, name="A package", created_by=manager),
        "scale": make_scale(project, "aspect", "kind"),
        "candidacy": Candidacy.objects.create(project=project, model=models[1]),
        "experiment": Experiment.objects.create(
            **{"project": project, "name": "methods", "parent": models[0], "dataset": dataset, "questions": dataset},
            **{"plan": PLAN, "plan_hash": "0" * 64, "state": "cancelled"},
        ),
        "round": _rounds(project, models[0], dataset),
        "judge-model": make_judge(project, model=models[0]).judge,
        "alert": Alert.objects.create(
            **{"project": project, "kind": "annotator.flagged", "about": "0", "text": "Somebody is flagged."},
            **{"url": f"/p/{project.slug}/quality/", "opened_at": timezone.now()},
        ),
        "exclusion": Exclusion.objects.create(
            **{"project": project, "person": make_user(project), "status": "excluded", "reason": "guesses"},
            **{"touched": touched_by(project, manager).as_json(), "by": manager},
        ),
    }


def _rounds(project: Project, parent: Any, dataset: Any) -> RoundSeries:
    series = RoundSeries.objects.create(
        **{"project": project, "name": "rounds", "parent": parent, "prompts": dataset, "questions": dataset},
        **{"plan": ROUND_PLAN, "plan_hash": "0" * 64, "state": "cancelled"},
    )
    Round.objects.create(series=series, number=0, model=parent)
    Round.objects.create(series=series, number=1, policy=parent)
    return series


def _invitation(project: Project, by: User) -> Invitation:
    return Invitation.objects.create(
        **{"project": project, "token_hash": token_hash(INVITED + project.slug), "role": "annotator"},
        **{"invited_by": by, "expires_at": timezone.now() + timedelta(days=1)},
    )
