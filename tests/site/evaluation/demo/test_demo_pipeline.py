"""One whole turn with a tiny model, cut short twice by kill -9: it ends, and nothing of it stands twice."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.processes import ROOT, kill_hard, until
from tests.support.sites.site import Site, empty_site
from tests.support.tiny_model import make_elsewhere

pytestmark = [pytest.mark.slow, pytest.mark.thorough, pytest.mark.timeout(2400)]
RATINGS, BATTLES = 80, 12
SIZES = {
    "ratings": RATINGS,
    "comparisons": 80,
    "battles": BATTLES,
    "completions-per-prompt": 2,
    "max-new-tokens": 16,
    "pretrain-tokens": 4_000,
}
# Feedback on eval prompts within datasets that train.
CROSSED_THE_SPLITS = """
    select count(*) from annotate_dataset_{0}s link
    join annotate_{0} feedback on feedback.id = link.{0}_id
    join annotate_prompt prompt on prompt.id = feedback.prompt_id
    where prompt.side = 'eval'
"""
# Answers that PPO's human review put before people: each names its run and step.
MEASURED = """
    select json_extract(config, '$.measure'), count(distinct parent_id) from training_run
    where kind = 'evaluate' and state = 'succeeded' group by 1
"""
# Answers that PPO's human review has kept.
ASKED = "select count(distinct policy_answer_id) + count(distinct parent_answer_id) from training_review"


def demo(site: Site) -> list[str]:
    sizes = [word for name, value in SIZES.items() for word in (f"--{name}", str(value))]
    model, taste = str(site.data / "tiny"), "tests.support.tastes.likes_vowels"
    watched = [sys.executable, "-m", "config.watched", "-m", "tests.support.sites.small_demo"]
    return [*watched, "--project", "demo", "--model", model, "--taste", taste, *sizes]


def output(site: Site) -> str:
    return (site.data / "runner.log").read_text()


def is_shown(site: Site) -> bool:
    """Tell whether the turn has come to its end; fails where it has stopped."""
    assert "It stopped (" not in output(site), output(site)[-2000:]
    return "Served until" in output(site)


def run_under_way(site: Site, kind: str) -> bool:
    """Tell whether the recipe of that kind has taken a step and has not ended: by its files, which the page follows."""
    folders = [
        site.data / "runs" / f"{run:06d}" for (run,) in site.query("select id from training_run where kind = ?", kind)
    ]
    return any((folder / "metrics.jsonl").exists() and not (folder / "result.json").exists() for folder in folders)


def everything(site: Site) -> dict[str, int]:
    """How many rows stand of all that a turn makes."""
    tables = ("annotate_prompt", "annotate_completion", "annotate_rating", "annotate_comparison", "annotate_battle")
    tables += ("annotate_dataset", "annotate_languagemodel", "annotate_contestant", "annotate_user", "training_run")
    tables += ("training_review", "evaluation_evaluation", "evaluation_candidacy", "evaluation_promotionrule")
    return {table: site.query(f"select count(*) from {table}")[0][0] for table in tables}


def test_a_turn_that_is_killed_twice_ends_and_starting_it_again_changes_nothing(tmp_path: Path):
    site = empty_site(tmp_path / "data")
    make_elsewhere(site.data / "tiny", seed=3)
    site.start(*demo(site))
    try:
        until(lambda: run_under_way(site, "sft"), 240, "the finetuning begins")
        assert site.runner is not None
        kill_hard(site.runner.pid)
        site.runner.wait()

        site.start(*demo(site))
        until(lambda: run_under_way(site, "ppo"), 240, "PPO begins")
        worker = site.process("run_worker")
        assert worker is not None
        kill_hard(worker.pid)
        until(lambda: is_shown(site), 1800, "the leaderboard is shown")

        rows = everything(site)
        assert (rows["annotate_rating"], rows["annotate_languagemodel"], rows["annotate_contestant"]) == (RATINGS, 6, 4)
        prompts = dict(site.query("select side, count(*) from annotate_prompt group by 1"))
        # Each pair of PPO's human review is two answers more; the parent's is kept once where it answered the same.
        [(asked,)] = site.query(ASKED)
        assert rows["annotate_completion"] == (prompts["train"] + prompts["eval"] * 4) * 2 + asked
        assert (
            rows["training_run"] == 19
        )  # of which two measure each of base, SFT and PPO, and one the last two's fluency
        assert rows["evaluation_candidacy"] == 3  # SFT, PPO, pretrained: whatever a run made, once
        assert rows["evaluation_promotionrule"] == 1
        assert dict(site.query(MEASURED)) == {"choices": 3, "perplexity": 3, "fluency": 2}
        assert site.query("select count(*) from training_run where state <> 'succeeded'") == [(0,)]
        votes = site.query("select judge, count(*) from annotate_comparison where battle_id is not null group by 1")
        assert votes == [("simulation", BATTLES)]
        for kind in ("rating", "comparison"):
            assert site.query(CROSSED_THE_SPLITS.format(kind)) == [(0,)]

        again = subprocess.run(demo(site), cwd=ROOT, env=site.environment, capture_output=True, text=True, timeout=240)
        assert "Served until" in again.stdout, again.stderr
        assert "less its" in again.stdout and "The rule" in again.stdout and "/p/demo/decisions/" in again.stdout
        assert everything(site) == rows
    finally:
        site.stop()
