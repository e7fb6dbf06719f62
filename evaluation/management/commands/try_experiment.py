"""Compare methods once, end to end, with simulated annotators: `manage.py try_experiment --url http://127.0.0.1:8000`.

Seeds a project, has the base answer and simulated annotators annotate, orders an experiment, waits until its models
stand in the arena, and has the same annotators vote until its plan stops it. A server, a background worker and a worker
must be running. Every step finds what is there, so that a run that was cut short goes on where it stopped.
"""

from __future__ import annotations

import os
import time
from argparse import ArgumentParser
from datetime import datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from annotate.core.errors import Refused
from annotate.demo.seed import seed
from annotate.models import AnnotatorKind
from annotate.simulation import accounts, session
from annotate.simulation.annotator import Annotator, taste_named
from annotate.simulation.client import ApiError, Unreachable
from evaluation.demo.pipeline_runs import dataset
from evaluation.demo.plan import Plan, Turn, TurnStopped
from evaluation.demo.stages import annotate_answers, answer_train_prompts, import_model
from evaluation.experiments import actions, experiment_results
from evaluation.experiments.arm_methods import ORDERED
from evaluation.models import Experiment

NAME = "methods"
POLL_SECONDS = 5.0
WORDS_EVERY = 60.0


class Command(BaseCommand):
    help = "Run one small experiment with simulated annotators, from prompts to the verdict."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--url", default=f"http://127.0.0.1:{os.environ.get('PORT', '8000')}")
        parser.add_argument("--model", default=Plan.model, help="a folder with the model; else the demo's small one")
        parser.add_argument("--project", default="methods", help="the project's slug")
        parser.add_argument("--arms", default="best_of,sft,dpo,kto,ppo", help=f"of {', '.join(ORDERED)}")
        parser.add_argument("--seeds", type=int, default=3)
        parser.add_argument("--episodes", type=int, default=256, help="the budget of each model")
        parser.add_argument("--votes-per-pair", type=int, default=40)
        parser.add_argument("--prompts", type=int, default=240, help="of the demo's prompts, so many")
        parser.add_argument("--adapters", default="lora", help="what models train: lora, or top, which is quicker")
        parser.add_argument("--annotators", type=int, default=24)
        parser.add_argument("--ratings", type=int, default=500)
        parser.add_argument("--comparisons", type=int, default=500)
        parser.add_argument("--max-new-tokens", type=int, default=48)
        parser.add_argument("--tax", action="store_true", help="measure older skills of each model, too")
        parser.add_argument("--taste", default=Plan.taste)

    def handle(self, *args: Any, **options: Any) -> None:
        plan = Plan(
            model=options["model"], taste=options["taste"], annotators=options["annotators"],
            ratings=options["ratings"], comparisons=options["comparisons"], max_new_tokens=options["max_new_tokens"],
            completions_per_prompt=3,
        )  # fmt: skip
        try:
            taste_named(plan.taste)
            seeded = seed(
                slug=options["project"],
                name="Methods compared",
                max_new_tokens=plan.max_new_tokens,
                most_prompts=options["prompts"],
            )
            turn = Turn(options["url"], seeded.project, seeded.researcher, plan)
            for stage in (import_model, answer_train_prompts, annotate_answers):
                self._say(stage(turn, self._report()))
            experiment = self._ordered(turn, options)
            self._follow(experiment)
            self._vote(turn, experiment)
        except (TurnStopped, Refused, ApiError, Unreachable, ValueError) as error:
            raise CommandError(str(error)) from error

    def _ordered(self, turn: Turn, options: dict[str, Any]) -> Experiment:
        standing = Experiment.objects.filter(project=turn.project, name=NAME).first()
        if standing is not None:
            return standing
        assert turn.base is not None
        tokens = {"max_new_tokens": options["max_new_tokens"]}
        # So few annotations may leave a reward model that is hardly better than chance; this is a trial.
        trusts = {"trust_unproven_reward": True}
        configs: dict[str, dict[str, Any]] = {
            "best_of": {**tokens, **trusts, "candidates": 4}, "rejection": {**tokens, **trusts},
            "ppo": {**tokens, **trusts, "batch_size": 16, "calibration_episodes": 32},
            "grpo": {**tokens, **trusts, "batch_size": 16}, "rloo": {**tokens, **trusts, "batch_size": 16},
        }  # fmt: skip
        learnt = {"adapters": options["adapters"]}
        arms = [
            {"method": name, "config": configs.get(name, {}) | ({} if name == "best_of" else learnt)}
            for name in options["arms"].split(",")
        ]
        experiment = actions.order(
            project=turn.project, by=turn.researcher, name=NAME, parent=turn.base,
            dataset=dataset(turn, "preferences", "judgements"), arms=arms, seeds=options["seeds"],
            budget={"unit": "episodes", "amount": options["episodes"]}, judge=AnnotatorKind.SIMULATION,
            votes_per_pair=options["votes_per_pair"], completions_per_prompt=1, measures_tax=options["tax"],
        )  # fmt: skip
        self._say(f"Registered as {experiment.plan_hash[:12]}.")
        return experiment

    def _follow(self, experiment: Experiment) -> None:
        """Wait until the models are in the arena; the worker and the background worker do the work."""
        said, last = "", 0.0
        while experiment.state in (Experiment.State.TRAINING, Experiment.State.ANSWERING):
            runs = experiment.project.runs
            finished = runs.filter(state="succeeded").count()
            text = f"{experiment.state}: {finished} runs have succeeded, {runs.unfinished().count()} are to come"
            if text != said and time.monotonic() - last > WORDS_EVERY:
                self._say(text)
                said, last = text, time.monotonic()
            time.sleep(POLL_SECONDS)
            experiment.refresh_from_db()
        if experiment.state in (Experiment.State.FAILED, Experiment.State.CANCELLED):
            raise TurnStopped(f"The experiment is {experiment.state}; its page says why.")

    def _vote(self, turn: Turn, experiment: Experiment) -> None:
        taste, people = taste_named(turn.plan.taste), accounts.simulated(turn.project, turn.plan.annotators)
        while experiment.state == Experiment.State.VOTING:
            reached = experiment_results.reached(experiment)
            missing = max((reached.needed or 0) - reached.votes, 10)
            self._say(f"{reached.votes} of {reached.needed} votes")
            crowd = [(one, Annotator(taste, seed=reached.votes * 100 + n)) for n, one in enumerate(people)]
            session.hold(turn.url, turn.project.slug, crowd, battles=missing)
            experiment_results.decide(experiment)
            experiment.refresh_from_db()
        for row in experiment.verdict.get("comparisons", []):
            self._say(
                f"{row['arm']} against {row['other']}: {row['difference']:+.0f} [{row['lower']:+.0f}, "
                f"{row['upper']:+.0f}], p {row['p']:.3f}: {row['verdict']}"
            )
        self._say(turn.page(f"/p/{turn.project.slug}/experiments/{experiment.pk}/"))

    def _say(self, text: str) -> None:
        self.stdout.write(f"{datetime.now():%H:%M:%S} {text}")

    def _report(self) -> Any:
        last = 0.0

        def report(done: int, total: int, note: str, ends_at: datetime | None) -> None:
            nonlocal last
            if time.monotonic() - last > WORDS_EVERY:
                last = time.monotonic()
                self._say(f"  {done} of {total} {note}")

        return report
