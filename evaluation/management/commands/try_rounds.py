"""Play rounds once, end to end, with simulated annotators: `manage.py try_rounds --url http://127.0.0.1:8000`.

Seeds a project, orders rounds of the demo's small model, and lets simulated annotators annotate and vote whenever a
round waits for them, until a rule of the plan stops it. Then one round with as many comparisons as all those together,
and votes between the two last models. A server, a background worker and a worker must be running. Every step finds
what is there, so that a run that was cut short goes on where it stopped.
"""

from __future__ import annotations

import math
import os
import time
from argparse import ArgumentParser
from datetime import datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from annotate.core.errors import Refused
from annotate.demo.seed import seed
from annotate.models import AnnotatorKind, LanguageModel
from annotate.simulation import accounts, session
from annotate.simulation.annotator import Annotator, taste_named
from annotate.simulation.client import ApiError, Unreachable
from evaluation.demo.plan import Plan, Turn, TurnStopped
from evaluation.demo.stages import import_model
from evaluation.leaderboard import snapshots
from evaluation.models import RoundSeries
from evaluation.rounds import actions, present, round_judging, round_progress, round_votes
from evaluation.rounds.round_order import NEWEST, OLDER, ROUND_METHODS

SEVERAL, ONE = "several rounds", "one round"
POLL_SECONDS = 3.0


class Command(BaseCommand):
    help = "Play rounds with simulated annotators, and one round with as many comparisons beside them."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--url", default=f"http://127.0.0.1:{os.environ.get('PORT', '8000')}")
        parser.add_argument("--model", default=Plan.model, help="a folder with the model; else the demo's small one")
        parser.add_argument("--project", default="rounds", help="the project's slug")
        parser.add_argument("--method", default="dpo", help=f"one of {', '.join(ROUND_METHODS)}")
        parser.add_argument("--rounds", type=int, default=3)
        parser.add_argument("--judgements", type=int, default=80, help="comparisons with a winner, of each round")
        parser.add_argument("--votes", type=int, default=200, help="between a round's model and the one before")
        parser.add_argument("--gain", type=float, default=50.0)
        parser.add_argument("--older", default=OLDER[0], help=f"one of {', '.join(OLDER)}")
        parser.add_argument("--prompts", type=int, default=240, help="of the demo's prompts, so many")
        parser.add_argument("--answers", type=int, default=4, help="to each train prompt, in each round")
        parser.add_argument("--max-new-tokens", type=int, default=48)
        parser.add_argument("--adapters", default="lora", help="what models train: lora, or top, which is quicker")
        parser.add_argument("--epochs", type=float, default=1.0, help="of DPO")
        parser.add_argument("--episodes", type=int, default=128, help="of PPO, GRPO and RLOO, in each round")
        parser.add_argument("--features", default="cross-validation", help="of the reward model; last is quicker")
        parser.add_argument("--candidates", type=int, default=4, help="of best-of-N and rejection sampling: the N")
        parser.add_argument("--annotators", type=int, default=24)
        parser.add_argument("--taste", default=Plan.taste)

    def handle(self, *args: Any, **options: Any) -> None:
        plan = Plan(
            model=options["model"], taste=options["taste"], annotators=options["annotators"],
            max_new_tokens=options["max_new_tokens"],
        )  # fmt: skip
        try:
            taste_named(plan.taste)
            seeded = seed(
                slug=options["project"], name="Rounds", max_new_tokens=plan.max_new_tokens,
                most_prompts=options["prompts"],
            )  # fmt: skip
            turn = Turn(options["url"], seeded.project, seeded.researcher, plan)
            self._say(import_model(turn, lambda done, total, note, ends_at: None))
            several = self._played(turn, options, SEVERAL, options["rounds"], options["judgements"])
            one = self._played(turn, options, ONE, 1, options["rounds"] * options["judgements"])
            self._compare(turn, options["votes"], several, one)
        except (TurnStopped, Refused, ApiError, Unreachable, ValueError) as error:
            raise CommandError(str(error)) from error

    def _played(self, turn: Turn, options: dict[str, Any], name: str, rounds: int, judgements: int) -> RoundSeries:
        series = RoundSeries.objects.filter(project=turn.project, name=name).first()
        if series is None:
            assert turn.base is not None
            times = judgements // options["judgements"]
            more = math.ceil(math.sqrt(times))  # so many times the pairs, and more
            series = actions.order(
                project=turn.project, by=turn.researcher, name=name, parent=turn.base, method=options["method"],
                config=_config(options, times), reward_config=_reward_config(options), rounds=rounds,
                judgements=judgements, answers_per_prompt=min(16, options["answers"] * more),
                older=options["older"] if rounds > 1 else NEWEST, votes=options["votes"], gain=options["gain"],
                judge=AnnotatorKind.SIMULATION, completions_per_prompt=2,
            )  # fmt: skip
            self._say(f"{name}: registered as {series.plan_hash[:12]}.")
        said = ""
        while series.state == RoundSeries.State.RUNNING:
            text = present.shown(series).sentence
            if text != said:
                self._say(text)
                said = text
            if actions.failed_runs(series) or series.rounds.exclude(problem="").exists():
                raise TurnStopped(f"{text} See {turn.page(f'/p/{turn.project.slug}/rounds/{series.pk}/')}")
            if not self._work(turn, series):
                time.sleep(POLL_SECONDS)
            series.refresh_from_db()
        shown = present.shown(series)
        self._say(f"{name}: {shown.sentence}")
        for row in shown.rows:
            accuracy = row.accuracy and f"{row.accuracy['value']:.2f} of {row.accuracy['n']}"
            self._say(
                f"  round {row.one.number}: {_points(row.rating)}; accuracy before {accuracy or '–'}; {row.judged} "
                f"comparisons, {row.votes} votes, {row.seconds:.0f} s; gain {_points(row.gain)}"
            )
        self._say(turn.page(f"/p/{turn.project.slug}/rounds/{series.pk}/"))
        return series

    def _work(self, turn: Turn, series: RoundSeries) -> bool:
        """Let simulated annotators do what the round waits for; return whether it was for them."""
        one = round_progress.current(series)
        if one is None:
            return False
        if one.opened_at is not None and one.dataset is None:
            missing = (one.needed or 0) - round_judging.winners_of(series, one)
            self._hold(turn, comparisons=max(missing, 10))
        elif one.entered_at is not None and not one.gain:
            before = series.rounds.get(number=one.number - 1)
            votes = round_votes.votes_between(series, one, before).count()
            self._hold(turn, battles=max(series.plan["votes"] - votes, 10))
        else:
            return False
        round_progress.advance(series)
        return True

    def _hold(self, turn: Turn, comparisons: int = 0, battles: int = 0) -> None:
        taste, people = taste_named(turn.plan.taste), accounts.simulated(turn.project, turn.plan.annotators)
        begins = turn.project.assignments.count() + turn.project.battles.count()
        crowd = [(one, Annotator(taste, seed=begins * 100 + n)) for n, one in enumerate(people)]
        session.hold(turn.url, turn.project.slug, crowd, comparisons=comparisons, battles=battles)

    def _compare(self, turn: Turn, votes: int, several: RoundSeries, one: RoundSeries) -> None:
        """Hold battles among all models, and say how far apart the last ones are."""
        models = [_last_model(series) for series in (several, one)]
        self._hold(turn, battles=votes)
        fitted = snapshots.fit_of(snapshots.current(project=turn.project, judge=AnnotatorKind.SIMULATION))
        if fitted is None:
            raise TurnStopped("The votes are not enough for a rating; start again for more.")
        places = [fitted.models.index(model.pk) for model in models]
        points = fitted.difference(*places)
        if points is None:
            raise TurnStopped("No chain of votes joins the two models; start again for more.")
        self._say(f"{models[0]} against {models[1]}, by all {fitted.tally.votes} votes: {_points(points)}")

    def _say(self, text: str) -> None:
        self.stdout.write(f"{datetime.now():%H:%M:%S} {text}")


def _points(points: Any) -> str:
    if points is None:
        return "–"
    return f"{points.value:+.0f}" + ("" if points.lower is None else f" [{points.lower:+.0f}, {points.upper:+.0f}]")


def _last_model(series: RoundSeries) -> LanguageModel:
    one = series.rounds.exclude(entered_at=None).select_related("model").last()
    assert one is not None and one.model is not None
    return one.model


def _config(options: dict[str, Any], times: int) -> dict[str, Any]:
    """Return the method's options; one round learns as long as several together, from so many times the judgements."""
    method, tokens = options["method"], {"max_new_tokens": options["max_new_tokens"]}
    # So few annotations may leave a reward model that is hardly better than chance; this is a trial.
    trusts = {"trust_unproven_reward": True}
    learnt = {"adapters": options["adapters"]}
    if method == "dpo":
        return {"epochs": options["epochs"], **learnt}
    if method == "best_of":
        return {**tokens, **trusts, "candidates": options["candidates"]}
    if method == "rejection":
        return {**tokens, **trusts, "candidates": options["candidates"], **learnt}
    steps = max(1, times * options["episodes"] // 16)
    config = {**tokens, **trusts, **learnt, "batch_size": 16, "steps": steps}
    return config | ({"calibration_episodes": 32} if method == "ppo" else {})


def _reward_config(options: dict[str, Any]) -> dict[str, Any]:
    return {} if options["method"] == "dpo" else {"curve": False, "features": options["features"]}
