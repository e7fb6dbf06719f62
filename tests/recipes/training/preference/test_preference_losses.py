"""What DPO and KTO minimise, beside TRL's trainers on the same batch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from trl import DPOConfig, DPOTrainer, KTOConfig, KTOTrainer

from tests.support import tiny_model
from training.recipes.common import loading
from training.recipes.common.processes import ONE_PROCESS
from training.recipes.preference import preference_step
from training.recipes.preference.answer_examples import AnswerExamples, places_of
from training.recipes.preference.preference_data import Judgements
from training.recipes.preference.preference_losses import pair_losses
from training.recipes.preference.preference_objectives import Objective, Pairs, Thumbs
from training.recipes.preference.preference_step import Learning
from training.recipes.preference.reference_logprobs import summed_logprobs
from training.recipes.sft.trained_model import Student

pytestmark = pytest.mark.usefixtures("one_thread")

PROMPTS = [[5, 9, 40, 17], [3, 66, 21], [30, 2, 11, 77, 54], [8, 8, 9]]
CHOSEN = [[12, 13, 14, 15, 16], [70, 71], [20, 21, 22], [33]]
REJECTED = [[40, 41], [50, 51, 52, 53, 54, 55], [60], [61, 62, 63]]


@pytest.fixture(scope="module")
def parent(tmp_path_factory):
    return tiny_model.make(tmp_path_factory.mktemp("models") / "tiny")


def learnt_model(parent: Any) -> Any:
    """A policy that is another function than its reference."""
    model = loading.load_policy(parent, torch.float32)[0]
    torch.manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * parameter.std() * torch.randn_like(parameter))
    return model


def data_of_all() -> Judgements:
    none: Any = np.zeros(0)
    numbers = np.tile(np.arange(len(PROMPTS)), 2)
    return Judgements(PROMPTS * 2, CHOSEN + REJECTED, numbers, none, none, none, none)


def ours(parent: Any, objective: Objective, places: np.ndarray, tokens: int) -> tuple[float, dict[str, torch.Tensor]]:
    """The loss of a step on all examples, and its gradients."""
    data, rows = data_of_all(), np.arange(len(objective.answers))
    examples = AnswerExamples(data, places)
    of_parent, policy = (
        Student(model, "full", rank=1, seed=0, dtype=torch.float32)
        for model in (loading.load_policy(parent, torch.float32)[0], learnt_model(parent))
    )
    reference = summed_logprobs(of_parent, examples, np.arange(len(places)), 64, ONE_PROCESS)
    config: Any = type("Config", (), {"rows_at_once": len(rows)})
    learning = Learning(config, policy, objective, examples, reference, tokens, ONE_PROCESS)
    kl = preference_step.distance_elsewhere(learning, rows)
    parts = preference_step.parts_of(learning, rows.tolist())
    assert len(parts) > 1 or tokens > 100
    seen = [preference_step.backward(learning, np.array(part), kl, share=1 / len(rows)) for part in parts]
    return preference_step.figures_of(learning, seen)["loss"], gradients(policy.model)


def gradients(model: Any) -> dict[str, torch.Tensor]:
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def theirs(trainer_class: Any, args: Any, parent: Any, rows: list[dict[str, Any]]) -> tuple[float, dict[str, Any]]:
    """The loss of TRL's trainer on the same batch, and its gradients."""

    class Trainer(trainer_class):  # type: ignore[misc]
        def _prepare_dataset(self, dataset: Any, *args: Any, **kwargs: Any) -> Any:
            return dataset

    model, reference = learnt_model(parent), loading.load_policy(parent, torch.float32)[0]
    trainer = Trainer(
        model=model, ref_model=reference, args=args, train_dataset=Dataset.from_list(rows),
        processing_class=loading.load_tokenizer(parent),
    )  # fmt: skip
    loss = trainer.compute_loss(model, trainer.data_collator(rows))
    loss.backward()
    return loss.item(), gradients(model)


def options(folder: Any, **own: Any) -> dict[str, Any]:
    return {
        "output_dir": str(folder), "per_device_train_batch_size": 8, "report_to": "none", "use_cpu": True,
        "bf16": False, "disable_dropout": True, "max_length": None, "gradient_checkpointing": False, **own,
    }  # fmt: skip


def assert_alike(found: tuple[float, Any], expected: tuple[float, Any]) -> None:
    assert found[0] == pytest.approx(expected[0], abs=1e-5, rel=1e-5)
    assert found[1].keys() == expected[1].keys()
    for name, gradient in expected[1].items():
        torch.testing.assert_close(found[1][name], gradient, atol=2e-5 * float(gradient.abs().max()), rtol=1e-3)


@pytest.mark.parametrize("tokens", [12, 1000])
@pytest.mark.parametrize("loss", ["sigmoid", "ipo", "hinge", "robust"])
def test_dpos_loss_and_gradients_are_those_of_trl(parent, tmp_path, loss, tokens):
    smoothing = 0.2 if loss == "robust" else 0.0
    count = len(PROMPTS)
    answers = np.stack([np.arange(count), np.arange(count) + count], 1)
    lengths = np.array([[len(a), len(b)] for a, b in zip(CHOSEN, REJECTED, strict=True)])
    objective = Pairs(answers, lengths, np.ones(count), 0.3, loss, smoothing)
    rows = [
        {"prompt_ids": p, "chosen_ids": c, "rejected_ids": r} for p, c, r in zip(PROMPTS, CHOSEN, REJECTED, strict=True)
    ]
    args = DPOConfig(**options(tmp_path), beta=0.3, loss_type=[loss], label_smoothing=smoothing)
    places = places_of(np.arange(2 * count)).places
    assert_alike(ours(parent, objective, places, tokens), theirs(DPOTrainer, args, parent, rows))


@pytest.mark.parametrize("tokens", [12, 1000])
def test_ktos_loss_and_gradients_are_those_of_trl(parent, tmp_path, tokens):
    count = len(PROMPTS)
    own = np.arange(2 * count)
    ups = own < count
    elsewhere = np.stack([own, np.roll(own, 1)], 1)
    places = places_of(own, elsewhere)
    objective = Thumbs(own[:, None], len(own) + own, ups, 0.3, (1.0, 1.5))
    texts = CHOSEN + REJECTED
    rows = [
        {
            "prompt_ids": PROMPTS[i % count],
            "completion_ids": texts[i],
            "label": bool(ups[i]),
            "KL_completion_ids": texts[elsewhere[i, 1]],
        }
        for i in range(2 * count)
    ]
    args = KTOConfig(**options(tmp_path), beta=0.3, desirable_weight=1.0, undesirable_weight=1.5)
    assert_alike(ours(parent, objective, places.places, tokens), theirs(KTOTrainer, args, parent, rows))


def test_smoothing_of_the_sigmoid_is_the_expected_loss_of_votes_that_may_be_wrong():
    """TRL 1.16 leaves it out without a word."""
    ratios, lengths = torch.tensor([[2.0, -1.0], [0.5, 0.7]]), torch.ones(2, 2)
    chosen, swapped, smoothed = (
        pair_losses(given, lengths, loss="sigmoid", beta=0.5, label_smoothing=wrong)
        for given, wrong in ((ratios, 0.0), (ratios.flip(1), 0.0), (ratios, 0.3))
    )
    torch.testing.assert_close(smoothed, 0.7 * chosen + 0.3 * swapped)


def test_an_answer_without_any_token_leaves_ipo_a_number():
    given, lengths = torch.tensor([[0.6, 0.0]], requires_grad=True), torch.tensor([[3, 0]])
    loss = pair_losses(given, lengths, loss="ipo", beta=0.5, label_smoothing=0.0)
    loss.sum().backward()
    assert loss.tolist() == pytest.approx([0.64]) and given.grad.isfinite().all()
