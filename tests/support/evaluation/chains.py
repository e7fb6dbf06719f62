"""A small lineage for tests: tokenizer → pretrained → SFT → PPO, rewarded by a model of people's votes."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any

from django.utils import timezone

from annotate.models import Dataset, LanguageModel, Project
from tests.support import factories
from training import configs
from training.models import Attempt, Run


@dataclass(frozen=True)
class Chain:
    project: Project
    tokenizer: LanguageModel
    pretrained: LanguageModel
    sft: LanguageModel
    reward: LanguageModel
    ppo: LanguageModel
    votes: Dataset


def make_chain(project: Project, **fields: Any) -> Chain:
    """Ten comparisons, of which one was withdrawn and three are in both datasets, and four ratings."""
    tokenizer = _model("bytes", kind="tokenizer", stage="tokenizer")
    pretrained = _model("heron", stage="pretrained", parent=tokenizer, licence="apache-2.0", parameters=4_200_000)
    sft = _model("heron-sft", stage="SFT", parent=pretrained, licence="apache-2.0", parameters=4_200_000)
    reward = _model("heron-judge", kind="reward", stage="reward model", parent=sft, licence="apache-2.0")
    ppo = _model("heron-ppo", stage="PPO", parent=sft, licence="apache-2.0", parameters=4_200_000)
    factories.make_contestant(project, ppo)
    corpus = make_dataset(project, "the shelf", "corpus", counts={"documents": 4123})
    best = make_dataset(project, "best answers", "sft", judge="person")
    votes = make_dataset(
        project, "votes of July", "preferences", judge="person", counts={"comparisons": 10, "judges": 2}
    )
    prompts = make_dataset(project, "prompts", "prompts", counts={"prompts": 9})
    _judge(project, votes, best)
    make_run("tokenizer", tokenizer, project, dataset=corpus)
    make_run("pretrain", pretrained, project, dataset=corpus)
    make_run("sft", sft, project, dataset=best)
    make_run("reward", reward, project, dataset=votes)
    make_run("ppo", ppo, project, dataset=prompts, reward_model=reward, config={"kl_coef": 0.07}, seed=11)
    return Chain(project, tokenizer, pretrained, sft, reward, ppo, votes)


def make_dataset(project: Project, name: str, kind: str, **fields: Any) -> Dataset:
    number = Dataset.objects.count() + 1
    return Dataset.objects.create(
        project=project, name=name, kind=kind, side="train", content_hash=f"{number:064x}", **fields
    )


def make_run(kind: str, output: LanguageModel | None, project: Project, **fields: Any) -> Run:
    config = asdict(configs.parse(kind, fields.pop("config", {})))
    given = {"name": output.name if output else "a run", "parent": output.parent if output else None, **fields}
    run = Run.objects.create(
        kind=kind,
        project=project,
        output_model=output,
        config=config,
        state="succeeded",
        code_version="abc1234",
        **given,
    )
    now = timezone.now()
    Attempt.objects.create(
        run=run, number=1, lease_expires_at=now, worker="w", launcher="local", state="succeeded", cpu_seconds=600,
        ended_at=now + timedelta(seconds=300),
    )  # fmt: skip
    return run


def _model(name: str, **fields: Any) -> LanguageModel:
    model = factories.make_model(name=name, content_hash=(name.encode().hex() * 64)[:64], **fields)
    assert model.path is not None
    model.path.mkdir(parents=True)
    (model.path / "config.json").write_text("{}")
    return model


def _judge(project: Project, votes: Dataset, best: Dataset) -> None:
    people = [factories.make_user(project) for _ in range(2)]
    for n in range(10):
        a, b = factories.make_pair(project)
        status = "withdrawn" if n == 0 else "counted"
        comparison = factories.make_comparison(a, b, "model_a", people[n % 2], status=status)
        votes.comparisons.add(comparison)
        if n < 3:
            best.comparisons.add(comparison)
        if n < 4:
            votes.ratings.add(factories.make_rating(a, people[0]))
