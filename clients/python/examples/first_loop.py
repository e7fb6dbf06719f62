"""From a file of preference pairs to a trained model, its rating, and the verdict of an experiment.

    ASSAY_TOKEN=… python first_loop.py http://127.0.0.1:8000 pairs.jsonl --model 1 --project tides

`pairs.jsonl` has `prompt`, `chosen` and `rejected` in each line. The token's account may make projects; `--model` is a
model with weights on the site (`assay.models.list()`). The votes are drawn by lot, all by one account:
the verdict will be that one voter says nothing of others.
"""

from __future__ import annotations

import argparse
import os
import random
import time

from assay_client import Assay, models


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("pairs")
    parser.add_argument("--model", type=int, required=True)
    parser.add_argument("--project", default="first-loop")
    asked = parser.parse_args()
    with Assay(asked.url, os.environ["ASSAY_TOKEN"]) as assay:
        train(assay, asked.project, asked.pairs, asked.model)
        compete(assay, asked.project, asked.model)
        print_ratings(assay, asked.project)
        experiment = find_the_better_method(assay, asked.project, asked.model)
        print(experiment.verdict_sentence)


def train(assay: Assay, project: str, pairs: str, parent: int) -> None:
    """Import the pairs, freeze the better answers, train a child on them."""
    assay.projects.create(slug=project, name=project.capitalize(), eval_percent=30, max_new_tokens=24)
    brought = assay.imports.create(project=project, file=pairs, format="trl-preference", source="pairs")
    assay.follow(brought, on_progress=print)
    dataset = assay.follow(assay.datasets.create(project=project, kind="sft", name="better answers"), on_progress=print)
    run = assay.runs.create(
        kind="sft", project=project, name=f"{project}-child", parent=parent, dataset=dataset.id, config={"epochs": 1}
    )
    run = assay.follow(run, on_progress=print)
    measured = [metric.values for metric in assay.metrics(run)]
    print(f"{len(measured)} measurements, the last: {measured[-1] if measured else None}")


def compete(assay: Assay, project: str, parent: int, battles: int = 10) -> None:
    """Enter the parent beside its child, which competes already; wait for their answers; vote on their battles."""
    assay.models.enter(parent, project=project)
    for run in assay.runs.list(project=project, kind="sample"):  # answers to the eval prompts, ordered by the site
        assay.follow(run, on_progress=print)
    vote(assay, project, battles)


def vote(assay: Assay, project: str, battles: int) -> None:
    for _ in range(battles):
        battle = assay.battles.create(project=project, drawn=True)
        while not battle.ready:  # the models are still answering
            time.sleep(1)
            battle = assay.battles.get(battle.id)
        winner = random.choice(("model_a", "model_b"))
        cast = assay.battles.vote(battle.id, token=battle.vote_token, winner=winner)
        print(f"{cast.model_a.name} against {cast.model_b.name}: {cast.winner}. {cast.why}")


def print_ratings(assay: Assay, project: str) -> None:
    for row in assay.leaderboard.get(project=project).rows:
        print(
            f"{row.rank}. {row.model}: {row.rating:.0f} ({row.lower:.0f} to {row.upper:.0f}) by {row.battles} battles"
        )


def find_the_better_method(assay: Assay, project: str, parent: int) -> models.Experiment:
    """Order SFT and DPO, two seeds each; vote when all have entered the arena; return the decided experiment."""
    pairs = assay.follow(assay.datasets.create(project=project, kind="preferences", name="pairs"))
    experiment = assay.experiments.create(
        project,
        name="methods",
        parent=parent,
        dataset=pairs.id,
        arms=[{"method": "sft"}, {"method": "dpo", "config": {"beta": 0.1}}],
        seeds=2,
        votes_per_pair=4,
    )
    experiment = assay.follow(experiment, until=["voting"], on_progress=print)
    while experiment.state == "voting":
        vote(assay, project, 4)
        experiment = assay.experiments.get(project, experiment.id)
    return assay.follow(experiment)


if __name__ == "__main__":
    main()
