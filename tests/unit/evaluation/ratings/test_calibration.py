"""A small run of `benchmarks/calibration.py`: the promises it counts, on as few arenas as tell a broken one apart."""

import json

import numpy as np
import pytest

from benchmarks import calibration
from benchmarks.calibrate_intervals import Setting, interval_rows
from benchmarks.calibrate_sequences import power_rows, sequence_rows
from benchmarks.calibrate_voters import STRICT, bot_rows, honest_rows
from benchmarks.simulated_arenas import draw_arena, draw_labels, true_ratings
from evaluation.ratings.bradley_terry import CENTRE, fit


class TestSimulatedArenas:
    def test_ties_leave_the_mean_score_as_it_is(self):
        random = np.random.default_rng(0)
        for chance in (0.2, 0.5, 0.9):
            labels = draw_labels(np.full(40_000, chance), 0.6, random)
            assert np.array([1, 0, 0.5, 0.5])[labels].mean() == pytest.approx(chance, abs=0.01)
            assert (labels >= 2).mean() == pytest.approx(2 * 0.6 * min(chance, 1 - chance), abs=0.01)
            assert (labels == 3).sum() > 0

    def test_the_truth_is_what_a_fit_to_many_votes_finds_tastes_included(self):
        strengths = np.array([0.9, 0.1, -1.0])
        arena = draw_arena(strengths, np.full(60_000, 5), np.random.default_rng(1), ties=0.3, taste=1.0)
        found = fit(arena.tally)
        assert found.rating - CENTRE == pytest.approx(true_ratings(strengths, 1.0), abs=3)
        assert np.abs(true_ratings(strengths, 0.0) - true_ratings(strengths, 1.0)).max() > 20


class TestIntervals:
    @pytest.mark.thorough
    @pytest.mark.slow
    def test_intervals_hold_for_single_voters_and_by_voters_for_repeated_ones(self):
        settings = (Setting(6, 600, 1, 0.5, 0.0), Setting(6, 100, 15, 0.3, 0.8))
        rows = list(interval_rows(80, seed=1, settings=settings))
        held = {(row["arena"], row["interval"]): row["differences"] for row in rows}
        once, repeated = (setting.name for setting in settings)
        assert 93 <= held[once, "votes"] <= 97
        assert 92 <= held[repeated, "voters"] <= 98
        assert held[repeated, "votes"] < 90  # the very reason for intervals by voters


class TestSequences:
    def test_few_streams_are_ever_wrong_while_a_fixed_interval_is_for_many(self):
        for row in sequence_rows(200, 300, seed=1, means=((0.5, 0.3), (0.8, 0.1))):
            assert row["sequence"] <= 5
            assert row["one-sided"] <= 5
            assert row["fixed interval read as often"] > 15

    @pytest.mark.slow
    def test_a_better_model_is_told_within_thrice_the_votes_of_a_fixed_test(self):
        (row,) = power_rows(100, 1500, seed=1, better=((0.6, 0.2),))
        assert row["fixed test, 50 %"] < row["median"] < 3 * row["fixed test, 50 %"]


class TestVoters:
    @pytest.mark.thorough
    @pytest.mark.slow
    def test_honest_voters_are_left_alone_at_every_look(self):
        rows = list(honest_rows(1, seed=1))
        assert {row["room"] for row in rows} == {"none", "as shipped"}
        assert all(row["ever"] <= 1 for row in rows if row["room"] == "as shipped")
        assert STRICT.discernment == 1

    @pytest.mark.slow
    def test_bots_are_found(self):
        found = {row["bots"]: row["300 votes"] for row in bot_rows(1, seed=1, votes=(300,)) if row["room"] != "none"}
        assert found["always the first shown"] == found["always a tie"] == found["always the worse"] == 100


def test_the_script_prints_its_tables_and_writes_them(monkeypatch, tmp_path, capsys):
    target = tmp_path / "calibration.json"
    arguments = ["--only", "sequences", "--streams", "8", "--votes", "40", "--json", str(target)]
    monkeypatch.setattr("sys.argv", ["calibration.py", *arguments])
    calibration.main()
    printed, body = capsys.readouterr().out, json.loads(target.read_text())
    assert "ever exclude the truth" in printed
    assert body["arguments"]["streams"] == 8
    assert len(body["tables"]) == 3
    assert all(rows for rows in body["tables"].values())
