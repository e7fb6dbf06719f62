"""The sentence that a run's overview begins with."""

from __future__ import annotations

import pytest

from training.core.endings import log_tail
from training.core.run_directory import RunDirectory, is_step_line
from training.runs.figures.verdicts import verdict


@pytest.mark.parametrize(
    ("state", "firsts", "lasts", "text"),
    [
        ("succeeded", {"loss": 2.9}, {"loss": 2.31}, "The training loss fell from 2.9 to 2.31."),
        ("running", {"loss": 2.9}, {"loss": 2.31}, "So far the training loss fell from 2.9 to 2.31."),
        ("running", {"loss": 2.9}, {"loss": 2.9}, "So far the training loss is 2.9."),
        ("succeeded", {"loss": 2.9}, {"loss": 2.9}, "The training loss is 2.9, unchanged since the start."),
        (
            "succeeded", {"score_mean": 0.0, "loss": 1.0}, {"score_mean": 0.84, "loss": 0.2, "kl": 5.25},
            "The mean score rose from 0 to 0.84. The KL to the parent is 5.25 nats per answer.",
        ),
    ],
)  # fmt: skip
def test_the_leading_figure_is_named_with_both_its_ends(state, firsts, lasts, text):
    told = verdict(state, {}, firsts, lasts)
    assert told is not None and told.text == text and not told.is_bad


def test_what_is_worse_on_held_out_data_is_said_to_be():
    told = verdict("succeeded", {}, {"eval_loss": 2.0, "loss": 2.0}, {"eval_loss": 2.4, "loss": 0.3})
    assert told is not None and told.is_bad
    assert told.text == "No improvement: the loss on held-out rows rose from 2 to 2.4."


def test_a_recipe_that_judges_by_itself_is_quoted():
    told = verdict("succeeded", {"verdict": "Chance.", "why": "Few.", "beats_chance": False}, {}, {})
    assert told is not None and (told.text, told.is_bad) == ("Chance. Few.", True)


def test_a_kind_that_shows_its_figures_by_itself_says_its_sentence():
    told = verdict("succeeded", {}, {"loss": 2.0}, {"loss": 1.0}, of_kind="It measured perplexity: 10.6.")
    assert told is not None and told.text == "It measured perplexity: 10.6."


def test_without_anything_measured_nothing_is_said():
    assert verdict("queued", {}, {}, {}) is None and verdict("running", {}, {}, {}) is None
    assert verdict("failed", {}, {"loss": 2.0}, {"loss": 1.0}) is None


def test_each_step_is_a_line_of_the_log(tmp_path, capsys):
    RunDirectory(tmp_path).log_metrics(12, loss=2.314159, kl=0.25)
    line = capsys.readouterr().out.strip()
    assert line.endswith(" step 12: loss 2.314, kl 0.25") and is_step_line(line)
    assert not is_step_line("Traceback at 18:03:31 step 12")
    (tmp_path / "log.txt").write_text(f"{line}\n")
    assert log_tail(tmp_path / "log.txt") == line
