"""The figures of a run's result, line by line."""

from __future__ import annotations

from training.runs.figures import progress


def estimate(value: float) -> dict[str, float | int]:
    return {"value": value, "lower": value - 0.1, "upper": value + 0.1, "n": 95}


def test_a_figure_with_its_interval_stands_once():
    pairs, thumbs = estimate(0.66), estimate(0.89)
    result = {
        "held_out": {"pair_accuracy": pairs, "thumbs_auc": thumbs},
        "longer": {"pair_accuracy": estimate(0.49)},
        "methods": {
            "head": {"pair_accuracy": pairs, "thumbs_auc": thumbs},
            "finetune": {"pair_accuracy": estimate(0.7)},
        },
    }
    assert [name for name, _ in progress.figures(result)] == [
        "held out: pair accuracy",
        "held out: thumbs auc",
        "longer: pair accuracy",
        "methods: finetune: pair accuracy",
    ]


def test_figures_with_an_interval_come_first_and_equal_numbers_without_one_stay():
    lines = progress.figures({"steps": 16, "kept": {"steps": 16}, "slope": estimate(1.1)})
    assert [name for name, _ in lines] == ["slope", "steps", "kept: steps"]


def test_what_is_counted_is_said_in_full_with_its_thousands():
    assert progress.figures({"parameters": 2_560_000, "tokens": 800_768, "loss": 4.7251}) == [
        ("parameters", "2,560,000"),
        ("tokens", "800,768"),
        ("loss", "4.725"),
    ]
