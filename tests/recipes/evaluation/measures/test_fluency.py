"""Fluency beside the parent: what the recipe measures, which answers it takes, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from evaluation.measures import answer_rows
from evaluation.metrics import definitions as families
from evaluation.metrics import figure_intervals as intervals
from evaluation.metrics import fluency_figures as fluency
from evaluation.models import Evaluation
from evaluation.recipes import evaluate
from evaluation.recipes.common import answer_scores
from tests.recipes.training.sft.test_recipe_sft import make_run as make_sft_run
from tests.support import tiny_model
from tests.support.evaluation import reward_models
from tests.support.evaluation.measured import measured
from tests.support.evaluation.recipe_runs import result_of
from tests.support.factories import make_completion, make_prompt
from tests.support.training.runs import make_run
from tests.web.evaluation.measures.test_measures import queue, refusal  # noqa: F401
from training.configs.evaluate import EvaluateConfig
from training.core.run_directory import RecipeFailure, RunDirectory, RunSpec, read_lines
from training.recipes.common import entry, loading
from training.recipes.reward.reward_model import RewardModel
from training.recipes.sft import __main__ as sft

SERVED = {"temperature": 0.7, "top_p": 0.95, "max_new_tokens": 64}


@pytest.fixture(scope="module")
def parent(tmp_path_factory) -> Path:
    return tiny_model.make(tmp_path_factory.mktemp("models") / "parent")


@pytest.fixture(scope="module")
def other(tmp_path_factory) -> Path:
    return tiny_model.make(tmp_path_factory.mktemp("models") / "child", seed=1)


def rows(count: int = 12, ours: str = "It is {0}.", theirs: str = "It was {0}.", cut: bool = False) -> list[dict]:
    asked = [[{"role": "user", "content": f"What is {i}?"}] for i in range(count)]
    return [
        {
            "prompt_id": i, "prompt": asked[i], "category": "", "whose": whose, "text": text.format(i * 37),
            "cut_off": cut,
        }
        for i in range(count)
        for whose, text in (("ours", ours), ("theirs", theirs))
    ]  # fmt: skip


def carry_out(
    folder: Path, child: Path, parent: Path | str, answers: list[dict], *, served: dict = SERVED, reward: str = "",
    **config,
) -> RunDirectory:  # fmt: skip
    run = RunDirectory(folder)
    spec = RunSpec(
        "evaluate", {"measure": "fluency", "draws": 200, **config}, seed=1, parent=str(child), parent_hash="f" * 64,
        ancestor=str(parent), reward_model=reward,
    )  # fmt: skip
    about = {"opponent": "tide-base", "settings": served}
    run.create(spec, {"answers": iter(answers), "about": iter([about])})
    entry.attempt(evaluate.main, run)
    return run


def direct(folder: Path, prompt: list[dict], text: str, temperature: float = 1.0) -> tuple[float, float, int]:
    """(surprise, entropy, tokens) of an answer with its end token, from the model's own logits."""
    model, tokenizer = loading.load_policy(folder, torch.float32)
    encode_prompt = loading.encode_prompt(tokenizer, prompt, 1000)
    said = [*loading.encode_completion(tokenizer, text, 1000), tokenizer.eos_token_id]
    with torch.no_grad():
        logs = (
            model(input_ids=torch.tensor([encode_prompt + said]))
            .logits[0]
            .float()
            .div(temperature)
            .log_softmax(-1)[len(encode_prompt) - 1 : -1]
        )
    surprise = -sum(float(logs[i, token]) for i, token in enumerate(said))
    return surprise, float(-(logs.exp() * logs).sum()), len(said)


@pytest.fixture
def in_float32(monkeypatch):
    monkeypatch.setenv("ASSAY_DTYPE", "float32")


@pytest.mark.usefixtures("in_float32")
class TestTheRecipe:
    def test_surprise_and_entropy_are_those_of_the_logits(self, tmp_path, parent, other):
        run = carry_out(tmp_path / "run", other, parent, rows())
        metrics = result_of(run)["metrics"]
        sums: dict[tuple[str, str], list[float]] = {}
        for row in rows():
            for folder in (parent, other):
                found = direct(folder, row["prompt"], row["text"])
                before = sums.get((row["whose"], folder.name), [0.0, 0.0, 0])
                sums[row["whose"], folder.name] = [a + b for a, b in zip(before, found, strict=True)]
        ours, theirs, own = sums["ours", "parent"], sums["theirs", "parent"], sums["ours", "child"]
        expected = {
            fluency.SURPRISE: ours[0] / ours[2],
            fluency.PARENTS_SURPRISE: theirs[0] / theirs[2],
            fluency.SURPRISE_ABOVE: ours[0] / ours[2] - theirs[0] / theirs[2],
            fluency.ENTROPY: own[1] / own[2],
            fluency.PARENTS_ENTROPY: theirs[1] / theirs[2],
            fluency.ENTROPY_ABOVE: own[1] / own[2] - theirs[1] / theirs[2],
        }
        for name, value in expected.items():
            assert metrics[name]["value"] == pytest.approx(value, abs=1e-4), name
            assert metrics[name]["lower"] < metrics[name]["value"] < metrics[name]["upper"]
        assert metrics[fluency.FOREIGN]["value"] == 0

    def test_kl_is_that_of_both_at_the_temperature_of_the_draws(self, tmp_path, parent, other):
        found = result_of(carry_out(tmp_path / "run", other, parent, rows()))["metrics"][fluency.KL]
        ratios = []
        for row in rows():
            if row["whose"] == "ours":
                under = [direct(folder, row["prompt"], row["text"], 0.7)[0] for folder in (parent, other)]
                ratios.append(under[0] - under[1])
        assert found["value"] == pytest.approx(sum(ratios) / len(ratios), abs=1e-3)
        assert found["lower"] < found["value"] < found["upper"] and found["n"] == 12

    def test_answers_that_were_not_drawn_have_no_kl(self, tmp_path, parent, other):
        greedy = result_of(carry_out(tmp_path / "run", other, parent, rows(), served={**SERVED, "temperature": 0.0}))
        assert fluency.KL not in greedy["metrics"] and fluency.SURPRISE in greedy["metrics"]

    def test_answers_that_followed_a_reasoning_have_no_kl(self, tmp_path, parent, other):
        answers = rows()
        answers[3] |= {"has_reasoning": True}
        assert fluency.KL not in result_of(carry_out(tmp_path / "run", other, parent, answers))["metrics"]

    def test_a_prompt_counts_once_on_either_side_of_the_score_however_many_answers_it_has(self, tmp_path, parent):
        """A child that answers as its parent does is no better, though the parent answered some prompts more often."""
        reward = reward_models.make(tmp_path)
        answers = rows(ours="It was {0}.")
        answers += [row for row in rows() if row["whose"] == "theirs" and row["prompt_id"] % 2] * 2
        found = result_of(carry_out(tmp_path / "run", parent, parent, answers, reward=str(reward)))["metrics"]
        assert found[fluency.SCORE_ABOVE]["value"] == pytest.approx(0, abs=1e-6)

    def test_an_answer_is_read_after_the_system_prompt_that_it_was_drawn_after(self, tmp_path, parent, other):
        told = {"role": "system", "content": "Be brief."}
        answers = [{**row, "answered_to": [told, *row["prompt"]]} for row in rows()]
        found = result_of(carry_out(tmp_path / "run", other, parent, answers))["metrics"][fluency.SURPRISE]
        under = [direct(parent, [told, *row["prompt"]], row["text"]) for row in rows() if row["whose"] == "ours"]
        assert found["value"] == pytest.approx(sum(s for s, _, _ in under) / sum(n for _, _, n in under), abs=1e-4)

    def test_a_reward_model_scores_the_answers_of_both(self, tmp_path, parent, other):
        reward = reward_models.make(tmp_path)
        run = carry_out(tmp_path / "run", other, parent, rows(), reward=str(reward))
        found = result_of(run)["metrics"][fluency.SCORE_ABOVE]
        sides = {}
        for whose in ("ours", "theirs"):
            asked = [row for row in rows() if row["whose"] == whose]
            scores = RewardModel.load(reward).score([row["prompt"] for row in asked], [row["text"] for row in asked])
            sides[whose] = float(scores.mean()) / 2.0  # its deviation
        assert found["value"] == pytest.approx(sides["ours"] - sides["theirs"], abs=1e-4) != 0
        assert found["lower"] < found["value"] < found["upper"]
        assert "reward model" in result_of(run)["signature"]
        assert fluency.SCORE_ABOVE not in result_of(carry_out(tmp_path / "alone", other, parent, rows()))["metrics"]

    def test_its_own_answers_are_no_surprise_beside_themselves(self, tmp_path, parent):
        metrics = result_of(carry_out(tmp_path / "run", parent, parent, rows(ours="It was {0}.")))["metrics"]
        assert metrics[fluency.SURPRISE_ABOVE]["value"] == metrics[fluency.ENTROPY_ABOVE]["value"] == 0
        assert metrics[fluency.KL]["value"] == 0

    def test_the_interval_goes_by_prompts_and_not_by_answers(self, tmp_path, parent, other):
        once = result_of(carry_out(tmp_path / "once", other, parent, rows()))["metrics"][fluency.SURPRISE]
        many = result_of(carry_out(tmp_path / "many", other, parent, rows() * 4))["metrics"][fluency.SURPRISE]
        assert (many["n"], many["value"]) == (12, pytest.approx(once["value"]))
        assert many["upper"] - many["lower"] == pytest.approx(once["upper"] - once["lower"], rel=0.01)

    def test_letters_of_scripts_that_the_parent_does_not_use_are_counted(self, tmp_path, parent, other):
        run = carry_out(tmp_path / "run", other, parent, rows(ours="ab日本", theirs="abc {0}"))
        result = result_of(run)
        assert result["metrics"][fluency.FOREIGN]["value"] == pytest.approx(0.5)
        assert any("Cjk 50 %" in note for note in result["notes"])

    def test_an_answer_that_was_cut_off_has_no_end_to_be_surprised_by(self, tmp_path, parent, other):
        cut, whole = (
            list(read_lines(carry_out(tmp_path / str(is_cut), other, parent, rows(cut=is_cut)).path / "items.jsonl"))
            for is_cut in (True, False)
        )
        assert [row["counts"][fluency.SURPRISE][1] + 1 for row in cut] == [
            r["counts"][fluency.SURPRISE][1] for r in whole
        ]

    def test_a_prompt_whose_answers_hold_nothing_is_left_out(self, tmp_path, parent, other):
        answers = rows()
        answers[0] |= {"text": "", "cut_off": True}
        assert result_of(carry_out(tmp_path / "run", other, parent, answers))["n"] == 11

    def test_a_run_that_was_killed_goes_on_with_the_next_batch(self, tmp_path, parent, other, monkeypatch):
        whole = carry_out(tmp_path / "whole", other, parent, rows(), batch_size=1, max_length=64)
        honest, calls = answer_scores.forward, []

        def dies_after_three(*given):
            calls.append(1)
            if len(calls) == 4:
                raise KeyboardInterrupt
            return honest(*given)

        monkeypatch.setattr(answer_scores.likelihood, "PROCESSOR_TOKENS", 64)
        monkeypatch.setattr(answer_scores, "forward", dies_after_three)
        with pytest.raises(KeyboardInterrupt):
            carry_out(tmp_path / "cut", other, parent, rows(), batch_size=1, max_length=64)
        cut = RunDirectory(tmp_path / "cut")
        entry.attempt(evaluate.main, cut)
        assert result_of(cut)["metrics"] == result_of(whole)["metrics"]
        kept = [len(list(read_lines(path))) for path in cut.path.glob("scores-parent-*.jsonl")]
        assert len(calls) == 1 + sum(kept) + sum(
            len(list(read_lines(path))) for path in cut.path.glob("scores-itself-*.jsonl")
        )

    def test_a_child_that_is_kept_as_an_adapter_is_measured_as_the_model_that_it_is(self, tmp_path, parent):
        sft_run = make_sft_run(tmp_path / "sft", parent, epochs=1.0)
        assert entry.attempt(sft.main, sft_run) == 0, sft_run.failure()
        metrics = result_of(carry_out(tmp_path / "run", sft_run.model, parent, rows()))["metrics"]
        sums = [0.0, 0]
        for row in rows():
            if row["whose"] == "ours":
                _, entropy, tokens = direct(sft_run.model, row["prompt"], row["text"])
                sums = [sums[0] + entropy, sums[1] + tokens]
        assert metrics[fluency.ENTROPY]["value"] == pytest.approx(sums[0] / sums[1], abs=1e-4)
        assert abs(metrics[fluency.ENTROPY_ABOVE]["value"]) > 0.01

    def test_without_the_parents_weights_it_is_refused(self, tmp_path, other):
        run = carry_out(tmp_path / "run", other, "", rows())
        failure = run.failure()
        assert failure and failure["code"] == "no_parent"


class TestTheRows:
    @pytest.fixture
    def run(self, project, child):
        config = EvaluateConfig(measure="fluency").__dict__
        return make_run(project, kind="evaluate", parent=child, config=config)

    def test_both_models_answers_to_the_same_prompts_are_laid(self, project, base, child, run):
        prompts = [make_prompt(project, side="eval") for _ in range(3)]
        for prompt in prompts[:2]:
            make_completion(prompt, "Mine.", model=child, sampling=SERVED)
            make_completion(prompt, "The parent's.", model=base, sampling=SERVED)
        make_completion(prompts[2], "Mine alone.", model=child, sampling=SERVED)
        laid = answer_rows.fluency_rows(run)
        assert sorted((row["whose"], row["text"]) for row in laid["answers"]) == [
            ("ours", "Mine."), ("ours", "Mine."), ("theirs", "The parent's."), ("theirs", "The parent's."),
        ]  # fmt: skip
        [about] = laid["about"]
        assert (about["opponent"], about["settings"]) == (base.name, SERVED)

    def test_the_parent_has_as_many_answers_to_a_prompt_as_the_model_the_newest(self, project, base, child, run):
        for _ in range(2):
            prompt = make_prompt(project, side="eval")
            make_completion(prompt, "Mine.", model=child, sampling=SERVED)
            for number in range(3):
                make_completion(prompt, f"The parent's {number}.", model=base, sampling=SERVED)
        laid = answer_rows.fluency_rows(run)["answers"]
        assert [row["text"] for row in laid if row["whose"] == "theirs"] == ["The parent's 2."] * 2

    def test_each_answer_stands_with_the_system_prompt_that_it_was_drawn_after(self, project, base, child, run):
        for _ in range(2):
            prompt = make_prompt(project, side="eval")
            make_completion(prompt, "Mine.", model=child, sampling={**SERVED, "system_prompt": "Be brief."})
            make_completion(prompt, "The parent's.", model=base, sampling=SERVED, reasoning="So be it.")
        laid = answer_rows.fluency_rows(run)["answers"]
        told = {"role": "system", "content": "Be brief."}
        assert {(row["whose"], row["answered_to"][0] == told, row["has_reasoning"]) for row in laid} == {
            ("ours", True, False), ("theirs", False, True),
        }  # fmt: skip
        assert all(row["prompt"] == row["answered_to"][-1:] for row in laid)

    def test_answers_that_are_missing_are_asked_for(self, run):
        with pytest.raises(RecipeFailure, match="have answers of both"):
            answer_rows.fluency_rows(run)

    def test_a_model_without_a_parent_is_refused(self, project, base):
        run = make_run(project, kind="evaluate", parent=base, config=EvaluateConfig(measure="fluency").__dict__)
        with pytest.raises(RecipeFailure, match="no parent that answers"):
            answer_rows.fluency_rows(run)


def test_the_order_is_refused_before_it_is_queued(queue, base):  # noqa: F811
    assert "no parent that answers" in refusal(queue, base, "fluency")["parent"]


def gaps(counts: list[list[float]]) -> dict[str, list[float]]:
    return [{fluency.SURPRISE_ABOVE: row} for row in counts]


def test_the_figures_point_at_the_parent(project, base, child):
    found = measured(project, child, fluency.TASK, items_of([[30.0, 10, 28.0, 10]] * 12), measure="fluency")
    row = Evaluation.objects.get(run=found, metric=fluency.SURPRISE_ABOVE)
    assert (row.opponent, row.higher_is_better, row.task) == (base, False, fluency.TASK)
    assert row.value == pytest.approx(0.2)


def items_of(counts: list[list[float]]):
    from tests.support.evaluation.measured import items

    return items(gaps(counts))


def test_the_gap_of_two_ratios_is_that_of_the_sums():
    counts = torch.tensor([[3.0, 1, 2, 1], [8, 4, 3, 1]]).numpy()
    metric = families.find(fluency.SURPRISE_ABOVE)
    assert intervals.value_of(metric, counts) == pytest.approx(11 / 5 - 5 / 2)
    assert families.find(fluency.ENTROPY_ABOVE).higher_is_better is None
