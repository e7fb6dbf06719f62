"""What the page of a PPO run and the form of a new one show beside what all do."""

from __future__ import annotations

import re

import pytest
from django.urls import reverse
from django.utils import timezone

from evaluation.measures import over_optimisation_panel
from tests.support.factories import make_prompt, make_user
from tests.support.training.runs import make_run
from training import configs
from training.runs.figures import curves, differences, health
from training.runs.ordering import order_files
from training.runs.present import review_picture, run_samples
from training.runs.present.run_page import run_config, run_tabs

pytestmark = pytest.mark.django_db


@pytest.fixture
def run(project):
    run = make_run(project, kind="ppo", state="running")
    run.config = dict(configs.parse("ppo", {"reward_function": "a.b"}).__dict__)
    run.save()
    return run


def sample(run, step: int, text: str = "Why?", source: str = "") -> None:
    prompt = [{"role": "user", "content": text}]
    run.samples.create(
        sequence=run.samples.count() + 1, step=step, prompt=prompt, completion=f"at {step}: {text}", score=step / 2
    )


def test_a_step_of_choice_stands_beside_the_parent(client, run):
    for step in (0, 3, 6, 9):
        sample(run, step)
    url = reverse("run", args=[run.pk])
    text = client.get(url, {"tab": "samples"}).content.decode()
    assert re.findall(r'tab=samples&amp;step=(\d+)"( aria-current)?', text) == [
        ("3", ""), ("6", ""), ("9", " aria-current"),
    ]  # fmt: skip
    assert "at <del>0</del>: Why?" in text and "at <ins>9</ins>: Why?" in text and "score 4.5" in text
    text = client.get(url, {"tab": "samples", "step": 6}).content.decode()
    assert "at <ins>6</ins>: Why?" in text and "<ins>9</ins>" not in text


def test_with_two_samples_there_is_nothing_to_choose(client, run):
    sample(run, 0), sample(run, 3)
    text = client.get(reverse("run", args=[run.pk]), {"tab": "samples"}).content.decode()
    assert "step=3" not in text and "step 3 · score 1.5" in text


def test_what_somebody_asked_in_the_arena_is_not_shown_by_step(client, project, run):
    make_prompt(project, "In confidence", source="arena")
    sample(run, 0, "In confidence"), sample(run, 0, "Ours")
    text = client.get(reverse("run", args=[run.pk]), {"tab": "samples"}).content.decode()
    assert "Ours" in text and "In confidence" not in text


def test_a_long_run_offers_a_dozen_steps_and_always_the_last(run):
    for step in range(60):
        sample(run, step)
    [one] = run_samples.sampled_prompts(run)
    steps = run_samples.steps_of(run)
    assert len(steps) == 12 and steps[-1] == 59 and (one.first.step, one.now.step) == (0, 59)


def test_the_page_says_when_nobody_is_asked(client, run):
    run.config["review_every"] = 0
    run.save()
    assert (
        "This run has no human review" in client.get(reverse("run", args=[run.pk]), {"tab": "review"}).content.decode()
    )


def test_one_click_fills_the_form_with_the_literatures_defaults(client, project):
    client.force_login(make_user(project, role="researcher"))
    page = reverse("new-run", args=[project.slug, "ppo"])
    text = client.get(page).content.decode()
    assert re.search(r'<button[^>]*formmethod="get" name="preset" value="table"', text)
    text = client.get(page, {"preset": "table"}).content.decode()
    for name, value in configs.PPOConfig.presets["table"].items():
        named = rf'name="config\.{name}"'
        field = re.search(rf"<select[^>]*{named}.*?</select>|<input[^>]*{named}[^>]*>", text, re.S).group(0)
        wanted = f'<option value="{value}" selected>' if isinstance(value, str) else f'value="{value}"'
        assert wanted in field, (name, field)


FIRST = {
    "input_shift": 0.2, "score_outside": 0.0, "entropy": 2.5, "eos_rate": 0.6, "ptx_held_out_loss": 3.0,
    "surprise": 2.8, "foreign_scripts": 0.0,
}  # fmt: skip


@pytest.mark.parametrize(
    ("last", "words"),
    [
        ({"input_shift": 1.3}, "that differ from the annotated ones"),
        ({"score_outside": 0.25}, "25 % of the scores are outside the range of the reward model's training"),
        ({"entropy": 0.5}, "the answers become more similar"),
        ({"entropy": 2.9}, "the answers become more random"),
        ({"eos_rate": 0.1}, "they no longer end"),
        ({"surprise": 3.1}, "the answers surprise the parent by 3.10 nats per token, its own answers by 2.80"),
        (
            {"foreign_scripts": 0.2},
            "20 % of the characters are emoji or in scripts that the parent does not use",
        ),
        ({"ptx_held_out_loss": 3.4}, "ptx_coef above 0 prevents this"),
    ],
)
def test_what_begins_to_run_away_is_said_in_words(last, words):
    assert words in " ".join(health.warnings([(0, FIRST), (5, {**FIRST, **last})], {}))
    assert health.warnings([(0, FIRST), (5, FIRST)], {}) == []


def test_a_batch_that_differs_from_the_parent_by_chance_alarms_nobody():
    """What the page once told of a parent whose 64 answers ended by themselves in 28 %: one batch, by chance in 6 %."""
    parent = {"parent_eos_rate": 0.28, "parent_eos_rate_se": 0.055, "parent_length_mean": 54.5}
    first = (0, {"eos_rate": 0.016, "length_mean": 64.0, **parent})
    by_chance = {"eos_rate": 0.125, "eos_rate_se": 0.06, "length_mean": 58.0, "entropy": 2.9, "entropy_se": 0.1}
    assert health.warnings([first, (5, by_chance)], {}) == []
    [told] = health.warnings([first, (5, {**by_chance, "eos_rate": 0.0, "eos_rate_se": 0.01})], {})
    assert "0 % of the answers are complete; 28 % of the parent's are" in told


def test_lines_and_warnings_stand_on_the_calibration_and_not_on_the_first_batch():
    first = {"eos_rate": 0.016, "length_mean": 64.0, "parent_eos_rate": 0.28, "parent_length_mean": 54.5, "kl": 0.0}
    rows = [(0, {**first, "kl_target": 5.45, "stop_kl": 8.2}), (1, {"eos_rate": 0.2, "length_mean": 55.0, "kl": 1.0})]
    drawn = {curve.name: curve for curve in curves.curves(rows, {"stop_kl": None, "kl_target": None})}
    assert set(drawn) == {"eos_rate", "length_mean", "kl"}
    assert [line.value for line in drawn["eos_rate"].lines] == [0.28]
    assert [line.value for line in drawn["length_mean"].lines] == [54.5]
    assert [(line.label, line.value) for line in drawn["kl"].lines] == [("target", 5.45), ("bound", 8.2)]


def test_the_bounds_on_how_answers_read_are_drawn_above_the_parent():
    rows = [(0, {"surprise": 2.9, "parent_surprise": 2.8, "foreign_scripts": 0.0}), (1, {"surprise": 3.0})]
    config = {"max_surprise_rise": 0.2, "max_foreign_share": 0.05}
    drawn = {curve.name: curve for curve in curves.curves(rows, config)}
    assert [line.value for line in drawn["surprise"].lines] == pytest.approx([2.8, 3.0])
    assert [line.value for line in drawn["foreign_scripts"].lines] == [0.05]


def test_drift_of_the_reward_model_has_a_chart_with_the_parents_line():
    rows = [(0, {"input_shift": 0.2, "kl": 0.0}), (1, {"input_shift": 0.4, "kl": 1.0})]
    drawn = {curve.name: curve for curve in curves.curves(rows, {"stop_kl": 9.0})}
    assert drawn["input_shift"].is_main and drawn["input_shift"].lines[0].value == 0.2
    assert [line.label for line in drawn["kl"].lines] == ["bound"]


def test_a_sampler_far_from_the_learner_is_warned_of_and_has_its_charts():
    near = {"sampler_kl": 0.02, "sampler_gap": 0.1, "truncated_share": 0.01, "staleness": 1.0}
    far = {**near, "sampler_kl": 0.14, "truncated_share": 0.08}
    assert health.warnings([(0, near), (1, near)], {}) == []
    [text] = health.warnings([(0, near), (1, far)], {})
    assert (
        "0.14 nats per token apart, and 8 % of the importance weights are truncated" in text and "staleness 0" in text
    )
    [text] = health.warnings([(0, near), (1, {**far, "staleness": 0.0})], {})
    assert "top_p 1" in text
    unweighted = {"sampler_kl": 0.14}
    assert health.warnings([(0, unweighted), (1, unweighted)], {}) == []
    drawn = {curve.name: curve for curve in curves.curves([(0, near)], {})}
    assert set(drawn) == set(near)
    assert drawn["truncated_share"].is_share and drawn["sampler_gap"].value_unit == "nats per token"


def test_the_picture_of_many_reviews_names_a_few_steps():
    marks = [review_picture.Mark(step, 0.7, 0.5, 4 if step < 40 else 0) for step in range(4, 84, 4)]
    drawn = review_picture.picture(marks)
    assert drawn.count("<circle") == 20 + 9 and ">4</text>" in drawn and ">80</text>" in drawn
    assert drawn.count('text-anchor="middle"') == 8


def test_held_out_prompts_and_the_second_head_stand_beside_the_score(client, run):
    url = run_tabs.address(run, "charts")
    run.metrics.create(sequence=1, step=0, time=timezone.now(), values={"score_mean": 0.0, "kl": 0.0})
    assert "Can you trust the score?" not in client.get(url).content.decode()
    gap = {"held_out_score": 0.2, "held_out_gap": 0.6, "held_out_gap_lower": 0.1, "held_out_gap_upper": 1.1}
    behind = {"gold_score": -0.4, "gold_behind": 0.9, "gold_behind_lower": 0.6, "gold_behind_upper": 1.2}
    values = {"score_mean": 0.8, **gap, **behind}
    run.metrics.create(sequence=2, step=3, time=timezone.now(), values=values)
    text = client.get(url).content.decode()
    for words in (
        "Can you trust the score?", "held-out prompts", "second head, trained on other annotations",
        "0.6 [0.1, 1.1]", "0.90 [0.60, 1.20]", "is beyond 0.5", "exploits errors of the reward model",
    ):  # fmt: skip
        assert words in text, words
    figure = text.split('<figure class="score-trust">')[1].split("</figure>")[0]
    assert figure.count("</polyline>") == 1 and figure.count("</circle>") == 2  # one point of each of the new ones


def test_a_run_of_before_shows_its_options_by_todays_names(project, run):
    """Defaults stay defaults, a run of today differs by nothing, and the order can be queued again."""
    today = make_run(project, kind="ppo")
    today.config = dict(run.config)
    before = {"review_every": "brake_every", "review_waits": "brake_waits", "review_by": "brake_judge"}
    run.config = {before.get(name, name): value for name, value in run.config.items()}
    options = {option.name: option.is_default for option in run_config.options(run)}
    assert all(options[name] for name in before)
    assert not [line for line in differences.choices([run, today]) if "brake" in line.name or "review" in line.name]
    assert "review_by: person" in order_files.written(run) and "brake" not in order_files.written(run)


def test_a_run_of_before_says_how_often_people_are_asked(run):
    for step in (1, 2):
        run.metrics.create(sequence=step, step=step, values={"score_mean": step / 2, "kl": step}, time=timezone.now())
    run.config["brake_every"] = run.config.pop("review_every")
    panel = over_optimisation_panel.of_run(run)
    assert panel is not None and panel["review_every"] == run.config["brake_every"] > 0
