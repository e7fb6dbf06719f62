"""A reward model set against judges: what counts as agreement, and which judgements stand in one figure."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from annotate.models import Status
from evaluation.measures import preference_rows
from evaluation.recipes import evaluate, reward_accuracy
from evaluation.recipes.judging.judged_answers import Judgements, Pair, Rated
from evaluation.recipes.reward_accuracy import ABOVE, LONGER
from tests.support.evaluation import reward_models
from tests.support.factories import make_comparison, make_completion, make_prompt, make_rating, make_user
from tests.support.training.runs import make_run
from training.core.run_directory import RecipeFailure, RunDirectory, RunSpec, read_lines
from training.recipes.common import entry
from training.recipes.reward.reward_model import RewardModel

GOLDEN = json.loads((Path(__file__).parents[4] / "tests/support/golden" / "classification.json").read_text())


@pytest.fixture(scope="module")
def reward(tmp_path_factory) -> Path:
    return reward_models.make(tmp_path_factory.mktemp("models"))


def judged(pairs: list[tuple], rated: Sequence[tuple] = (), lengths: list[int] | None = None) -> Judgements:
    """`pairs` are (prompt, a, b, won, source?, voter?), `rated` (prompt, answer, thumbs, stars)."""
    many = 1 + max([n for p in pairs for n in p[1:3]] + [r[1] for r in rated], default=0)
    prompts = 1 + max(row[0] for row in [*pairs, *rated])
    return Judgements(
        [[{"role": "user", "content": f"q{i}"}] for i in range(prompts)],
        [str(i) for i in range(prompts)],
        [(0, "x" * n) for n in (lengths or range(1, many + 1))],
        [Pair(p, more[0] if more else "arena", more[1] if len(more) > 1 else -p - 1, a, b, won)
         for p, a, b, won, *more in pairs],
        [Rated(p, "annotation", answer, thumbs, stars) for p, answer, thumbs, stars in rated],
    )  # fmt: skip


def figures(judgements: Judgements, scores: list[float], tie_threshold: float = 0.0) -> dict:
    told = reward_accuracy.measured_of(judgements, np.array(scores, dtype=float), 0, 200, tie_threshold)
    assert told.fitted is not None
    return told.fitted(told.items)


def test_a_pair_is_right_when_the_preferred_answer_scores_higher_and_half_when_scores_are_equal():
    pairs = [(0, 0, 1, "a"), (1, 0, 1, "b"), (2, 2, 3, "b"), (3, 2, 3, "")]
    found = figures(judged(pairs), [2.0, 1.0, 5.0, 5.0])
    assert found["pair accuracy"]["value"] == pytest.approx((1 + 0 + 0.5) / 3)
    assert found["pair accuracy"]["n"] == 3, "a tie has no right side"


def test_the_longer_answer_stands_beside_it_and_the_difference_is_paired():
    pairs = [(i, 0, 1, "b" if i % 3 else "a") for i in range(12)]
    found = figures(judged(pairs, lengths=[1, 9]), [3.0, 1.0])
    assert (found[LONGER]["value"], found["pair accuracy"]["value"]) == (pytest.approx(8 / 12), pytest.approx(4 / 12))
    assert found[ABOVE]["value"] == pytest.approx(-4 / 12)
    assert -1 <= found[ABOVE]["lower"] < found[ABOVE]["value"] < found[ABOVE]["upper"] <= 1


def test_ties_are_told_by_how_far_apart_the_scores_are():
    pairs = [(i, 0, 1, "a") for i in range(6)] + [(6 + i, 2, 3, "") for i in range(6)]
    assert figures(judged(pairs), [5.0, 0.0, 1.0, 0.9])["tie separation"]["value"] == 1.0
    assert figures(judged(pairs), [5.0, 4.9, 9.0, 0.0])["tie separation"]["value"] == 0.0
    assert figures(judged(pairs[:6]), [5.0, 0.0, 1.0, 0.9])["tie separation"] is None


def test_thumbs_and_stars_are_scikit_learns_and_scipys():
    rated = [(i, i, bool(t), s) for i, (t, s) in enumerate(zip(GOLDEN["thumbs"], GOLDEN["stars"], strict=True))]
    found = figures(judged([], rated), GOLDEN["scores"])
    for name in ("thumbs AUC", "stars correlation"):
        assert found[name]["value"] == pytest.approx(GOLDEN[name], abs=1e-12)
        assert found[name]["lower"] < found[name]["value"] < found[name]["upper"]
    assert found["pair accuracy"] is None


def test_confidence_that_is_not_borne_out_is_a_calibration_error():
    """Sure to 73 % of each pair and right in half of them."""
    found = figures(judged([(i, 0, 1, "ab"[i % 2]) for i in range(20)]), [1.0, 0.0])
    assert found["calibration error"]["value"] == pytest.approx(1 / (1 + np.exp(-1)) - 0.5, abs=1e-9)


def test_a_model_that_expects_the_ties_there_are_is_calibrated():
    """At a difference of ln 3 and a tie threshold of ln 2 it expects 21 wins, 9 ties and 5 losses of 35."""
    said = ["a"] * 21 + [""] * 9 + ["b"] * 5
    pairs = [(i, 0, 1, won) for i, won in enumerate(said)]
    scores = [float(np.log(3)), 0.0]
    found = figures(judged(pairs), scores, tie_threshold=float(np.log(2)))
    assert found["calibration error"]["value"] == pytest.approx(0.0, abs=1e-9)
    assert figures(judged(pairs), scores)["calibration error"]["value"] == pytest.approx(0.75 - 51 / 70)


def test_a_calibration_error_that_no_draw_moves_has_no_interval():
    found = figures(judged([(i, 0, 1, "a") for i in range(6)]), [1.0, 0.0])["calibration error"]
    assert found["value"] == pytest.approx(1 - 1 / (1 + np.exp(-1)))
    assert (found["lower"], found["upper"]) == (None, None)


def test_ratings_that_all_say_the_same_are_refused():
    with pytest.raises(RecipeFailure, match="All 5 ratings are equal"):
        figures(judged([(0, 0, 1, "")], [(i, 0, True, 3) for i in range(5)]), [1.0, 0.0])


def test_votes_on_one_prompt_widen_the_interval():
    apart = [(i, 0, 1, "a" if i % 4 else "b") for i in range(40)]
    together = [(i // 4 if i % 4 else 10 + i // 4, 0, 1, won, "arena", i + 1) for i, (_, _, _, won) in enumerate(apart)]
    wide, narrow = (figures(judged(p), [1.0, 0.0])["pair accuracy"] for p in (together, apart))
    assert wide["value"] == narrow["value"]
    assert wide["upper"] - wide["lower"] > narrow["upper"] - narrow["lower"]


def test_nothing_but_ties_is_refused_and_ties_beside_ratings_are_said():
    ties = [(i, 0, 1, "") for i in range(5)]
    with pytest.raises(RecipeFailure, match="All 5 comparisons are ties"):
        figures(judged(ties), [1.0, 0.0])
    told = reward_accuracy.measured_of(
        judged(ties, [(0, 0, True, None), (1, 1, False, None)]), np.array([1.0, 0.0]), 0, 50
    )
    assert figures(judged(ties, [(0, 0, True, None), (1, 1, False, None)]), [1.0, 0.0])["thumbs AUC"]["value"] == 1.0
    assert "All comparisons are ties: there is no pair accuracy." in told.notes
    assert told.items[0].counts == {}


# From rows to a result


def carry_out(folder: Path, reward: Path, data: dict[str, list[dict]], **config) -> RunDirectory:
    run = RunDirectory(folder)
    (folder / "data" / "other").mkdir(parents=True)
    spec = RunSpec(
        "evaluate",
        {"measure": "reward_accuracy", "draws": 100, **config},
        seed=1,
        parent=str(reward),
        parent_hash="f" * 64,
    )
    run.create(spec, {name: iter(rows) for name, rows in data.items()})
    entry.attempt(evaluate.main, run)
    return run


def pair_rows(n: int) -> list[dict]:
    return [
        {"prompt": f"Say {i}", "chosen": f"well {i}", "rejected": f"no {i * 7}", "source": f"s{i % 2}"}
        for i in range(n)
    ]


def test_rows_of_prompt_chosen_and_rejected_are_scored_by_the_model(tmp_path, reward):
    rows = pair_rows(10)
    run = carry_out(tmp_path / "run", reward, {"other/pairs": rows})
    result = run.result()
    assert result is not None, run.failure()
    model = RewardModel.load(reward)
    asked = [[{"role": "user", "content": row["prompt"]}] for row in rows]
    chosen, rejected = (
        model.score(asked, [row[name] for row in rows]).cpu().numpy() for name in ("chosen", "rejected")
    )
    assert result["metrics"]["pair accuracy"]["value"] == pytest.approx((chosen > rejected).mean())
    assert set(result["groups"]) == {"s0", "s1"}
    assert result["groups"]["s0"]["pair accuracy"]["n"] == 5
    first = next(read_lines(run.path / "items.jsonl"))["shown"]
    assert first["chosen"] == "well 0" and first["verdict"] in ("right", "wrong")
    assert first["score"] == pytest.approx(float(chosen[0]), abs=1e-4)


def test_a_frozen_dataset_of_preferences_is_taken(tmp_path, reward):
    completions = [
        {"id": i, "prompt_id": i // 2, "prompt": [{"role": "user", "content": f"q{i // 2}"}], "text": f"t{i}"}
        for i in range(8)
    ]
    comparisons = [
        {"prompt_id": i, "completion_a": 2 * i, "completion_b": 2 * i + 1, "winner": "model_a", "author": 1}
        for i in range(4)
    ]
    ratings = [{"completion": i, "thumbs": bool(i % 2), "stars": None, "author": 1} for i in range(8)]
    data: dict[str, Any] = {
        "other/completions": completions,
        "other/comparisons": comparisons,
        "other/ratings": ratings,
    }
    result = carry_out(tmp_path / "run", reward, data).result()
    assert result is not None
    assert (result["metrics"]["pair accuracy"]["n"], result["metrics"]["thumbs AUC"]["n"]) == (4, 8)
    assert result["n"] == 4


@pytest.mark.parametrize("rows, code, told", [
    ([], "too_few_judgements", "There are no annotations"),
    (pair_rows(1), "too_few_judgements", "There is 1 annotation"),
    ([{"prompt": "a", "chosen": "b"}] * 2, "bad_data", "'rejected'"),
    ([{"prompt": "a", "chosen": "b", "rejected": "b"}] * 2, "bad_data", "row 1: chosen and rejected are equal"),
    ([{"prompt": "a", "chosen": 3, "rejected": "b"}] * 2, "bad_data", "prompt, chosen and rejected must be texts"),
])  # fmt: skip
def test_rows_that_tell_nothing_are_refused_in_words(tmp_path, reward, rows, code, told):
    failure = carry_out(tmp_path / "run", reward, {"other/pairs": rows}).failure()
    assert failure is not None and failure["code"] == code
    assert told in failure["message"] and failure["remedy"]


@pytest.mark.parametrize("lost, code", [
    ("config.json", "model_missing"), ("tokenizer.json", "model_unreadable"), ("model.safetensors", None),
])  # fmt: skip
def test_a_reward_model_whose_trunk_is_gone_is_said(tmp_path, lost, code):
    reward = reward_models.make(tmp_path / "models")
    trunk = tmp_path / "models" / "trunk-of-it"
    for path in trunk.glob(f"{lost.split('.')[0]}*" if lost == "tokenizer.json" else lost):
        path.unlink()
    failure = carry_out(tmp_path / "run", reward, {"other/pairs": pair_rows(4)}).failure()
    assert failure is not None and failure["code"] != "crashed"
    assert code is None or failure["code"] == code
    shutil.rmtree(reward)
    gone = carry_out(tmp_path / "again", reward, {"other/pairs": pair_rows(4)}).failure()
    assert gone is not None and gone["code"] == "not_a_reward_model"


# From the database


@pytest.fixture
def run_of(project, base):
    from training.configs.evaluate import EvaluateConfig

    def made(**config):
        config = {**EvaluateConfig().__dict__, "measure": "reward_accuracy", **config}
        return make_run(project, kind="evaluate", parent=base, config=config)

    return made


def test_people_and_simulations_are_laid_apart_and_only_what_counts_on_the_eval_split(
    project, base, child, vote, run_of
):
    vote(base, child, "model_a", 2)
    vote(base, child, "model_b", 3, is_simulated=True)
    vote(base, child, "tie", source="an import")
    vote(base, child, status=Status.EXCLUDED)
    vote(base, child, side="train")
    rating = make_rating(make_completion(make_prompt(project, side="eval")), thumbs=True, stars=None)
    make_rating(rating.completion, make_user(), aspects={"kind": 3}, stars=None)
    rows = preference_rows.reward_rows(run_of())
    assert [row["winner"] for row in rows["comparisons"]] == ["model_a", "model_a", "tie"]
    assert [row["source"] for row in rows["comparisons"]] == ["annotation", "annotation", "an import"]
    assert [row["voter"] for row in rows["comparisons"]] == [1, 1, 2]
    assert [row["thumbs"] for row in rows["ratings"]] == [True]
    assert rows["about"] == [{"judge": "person", "other_judge": 3, "prompts": 3}]
    assert {row["id"] for row in rows["completions"]} >= {rows["comparisons"][0]["completion_a"], rating.completion_id}
    simulated = preference_rows.reward_rows(run_of(judged_by="simulation"))
    assert len(simulated["comparisons"]) == 3 and simulated["ratings"] == []


def test_what_is_laid_down_is_what_the_recipe_reads(tmp_path, reward, base, child, vote, run_of):
    for _ in range(4):
        vote(base, child, "model_a", source="arena")
    vote(base, child, "model_b", source="annotation")
    vote(base, child, "model_b", is_simulated=True)
    run = carry_out(tmp_path / "run", reward, preference_rows.reward_rows(run_of()))
    result = run.result()
    assert result is not None, run.failure()
    assert {name: row["pair accuracy"]["n"] for name, row in result["groups"].items()} == {"arena": 4, "annotation": 1}
    assert result["task"] == "agreement with people"
    assert "1 comparisons by simulations are not included; measure them in another run." in result["notes"]


def test_a_limit_takes_the_same_prompts_however_many_votes_they_have(project, base, child, run_of):
    for _ in range(6):
        prompt = make_prompt(project, side="eval")
        make_comparison(make_completion(prompt, model=base), make_completion(prompt, model=child))
    rows = preference_rows.reward_rows(run_of(limit=2))
    assert rows["about"][0]["prompts"] == 6
    assert len({row["prompt_id"] for row in rows["comparisons"]}) == 2
    again = preference_rows.reward_rows(run_of(limit=3))
    assert {r["prompt_id"] for r in rows["comparisons"]} < {r["prompt_id"] for r in again["comparisons"]}


def test_no_judgements_and_a_judge_that_is_none_are_refused(run_of):
    with pytest.raises(RecipeFailure, match="There are no counted annotations by people"):
        preference_rows.reward_rows(run_of())
    with pytest.raises(RecipeFailure, match="not with judged_by=endpoint"):
        preference_rows.reward_rows(run_of(judged_by="endpoint"))
