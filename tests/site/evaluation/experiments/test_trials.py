"""The two trials of methods, `try_experiment` and `try_rounds`, at a small size with a tiny model: each goes from
prompts to what it promises to say, and begun again finds all of it there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.sites.site import Site, empty_site
from tests.support.tiny_model import make_elsewhere

pytestmark = [pytest.mark.slow, pytest.mark.thorough, pytest.mark.timeout(1200)]
SMALL = {
    "taste": "tests.support.tastes.likes_vowels",
    "prompts": 60,
    "annotators": 3,
    "max_new_tokens": 12,
    "adapters": "top",
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    site = empty_site(tmp_path_factory.mktemp("trials") / "data")
    make_elsewhere(site.data / "tiny", seed=3)
    site.start()
    yield site
    site.stop()


def trial(site: Site, command: str, **options: Any) -> list[str]:
    """Return the lines that the trial prints, without their times."""
    options = {"url": site.url, "model": site.data / "tiny", **SMALL, **options}
    words = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    return [line.partition(" ")[2] for line in site.manage(command, *words).splitlines()]


def test_an_experiment_goes_from_prompts_to_its_verdict(site: Site) -> None:
    sizes = {"arms": "best_of,sft", "seeds": 2, "episodes": 16, "ratings": 80, "comparisons": 80, "votes_per_pair": 10}
    said = trial(site, "try_experiment", **sizes)
    assert site.query("select state from evaluation_experiment") == [("decided",)], said
    verdicts = [line for line in said if " against " in line and ": " in line]
    assert len(verdicts) == 2, said
    assert said[-1].endswith("/experiments/1/")
    runs = site.query("select count(*) from training_run")
    assert trial(site, "try_experiment", **sizes)[-3:] == said[-3:]
    assert site.query("select count(*) from training_run") == runs


def test_rounds_go_on_until_a_rule_and_one_round_has_as_many_comparisons(site: Site) -> None:
    said = trial(site, "try_rounds", method="dpo", rounds=2, judgements=20, votes=20, gain=1, answers=2)
    [several, one] = site.query(
        "select state, (select count(*) from evaluation_round r where r.series_id = s.id)"
        " from evaluation_roundseries s order by s.id"
    )
    assert several[0] == one[0] != "running", said
    last = r"several rounds 1: round \d against one round 2: round 1, by all \d+ votes: [+-]\d+ \[[+-]\d+, [+-]\d+\]"
    assert re.fullmatch(last, said[-1]), said[-1]
