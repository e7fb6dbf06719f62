"""What GRPO and RLOO minimise, beside TRL's trainers on the same answers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer

from tests.support import tiny_model
from tests.support.training import preference_runs
from training import configs
from training.core.run_directory import RunDirectory, RunSpec
from training.recipes.common import entry, loading
from training.recipes.group import group_update
from training.recipes.group.group_engine import GroupEngine, order
from training.recipes.group.group_objectives import GRPO, RLOO
from training.rl.rollout import rollout_of
from training.rl.sampler import Completions

pytestmark = pytest.mark.usefixtures("one_thread")

ANSWERS = [[12, 13, 14, 15, 16], [70, 71], [20, 21, 22], [33], [40, 41], [50, 51, 52, 53, 54, 55], [60], [61, 62, 63]]
LONGEST = 9  # more than any has
CONFIG = {"steps": 3, "batch_size": 8, "group_size": 4, "max_new_tokens": LONGEST, "adapters": "full", "clip": 0.1}
CONFIG |= {"temperature": 0.7, "beta": 0.3, "max_grad_norm": 1e6, "reward_function": f"{__name__}.score"}
TRAINERS = {"grpo": (GRPOTrainer, GRPOConfig), "rloo": (RLOOTrainer, RLOOConfig)}
OBJECTIVES = {"grpo": GRPO, "rloo": RLOO}
Step = tuple[float, dict[str, torch.Tensor]]  # a loss, and its gradients


def score(prompts, texts):
    return [(sum(map(ord, text)) % 17) / 5 for text in texts]


@pytest.fixture(scope="module")
def parent(tmp_path_factory):
    return tiny_model.make(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(autouse=True)
def float32(monkeypatch):
    monkeypatch.setenv("ASSAY_DTYPE", "float32")


@torch.no_grad()
def move(parameters: Any, seed: int) -> None:
    """Make the policy another function, the same one on both sides."""
    generator = torch.Generator().manual_seed(seed)
    for _, parameter in sorted(parameters):
        parameter.add_(0.1 * parameter.std() * torch.randn(parameter.shape, generator=generator))


class Moves(torch.optim.SGD):
    """An optimiser of the test's own: where it goes does not depend on gradients, which it notes."""

    def __init__(self, named: dict[str, torch.Tensor]) -> None:
        super().__init__(named.values(), lr=0.1)
        self.named, self.seen = named, list[dict[str, torch.Tensor]]()

    def step(self, closure: Any = None) -> None:
        self.seen.append({name: p.grad.clone() for name, p in self.named.items()})
        move(self.named.items(), seed=len(self.seen))


def ours(folder, parent, monkeypatch, kind: str, *, tokens: int, **config) -> list[Step]:
    """The losses of two updates on one batch, and their gradients."""
    run = RunDirectory(folder)
    rows = [{"id": n, "messages": preference_runs.prompt(n)} for n in range(2)]
    spec = RunSpec(kind, CONFIG | {"epochs": 2} | config, seed=3, parent=str(parent))
    run.create(spec, {"prompts": iter(rows)})
    parsed, losses, clip = entry.config_of(spec), [], group_update.steps.clip_gradients
    engine = GroupEngine(run, spec, parsed)
    engine.tokens_at_once = tokens
    named = dict(engine.policy.parameters())
    move(named.items(), seed=0)

    def draw(prompts, *rest):
        lengths = torch.tensor([len(ids) for ids in ANSWERS])
        ids = torch.tensor([[*ids, *[0] * (LONGEST - len(ids))] for ids in ANSWERS])
        return rollout_of(prompts, Completions(ids, lengths, lengths < 0), 0), None, None

    def noted(learning, limit, *, loss, step):
        losses.append(loss)
        return clip(learning, limit, loss=loss, step=step)

    monkeypatch.setattr(engine, "draw_prompts", draw)
    monkeypatch.setattr(group_update.steps, "clip_gradients", noted)
    optimiser = Moves(named)
    answers = engine.collect(0)
    assert len(engine.groups(answers.rollout)) > 1 or tokens > 100
    group_update.learn_from(engine, optimiser, OBJECTIVES[kind](parsed), answers, 0)
    return list(zip(losses, optimiser.seen, strict=True))


def theirs(folder, parent, kind: str, **own) -> list[Step]:
    trainer_class, config_class = TRAINERS[kind]

    class Trainer(trainer_class):  # type: ignore[misc]
        def _generate_single_turn(self, *_given: Any, **_named: Any) -> Any:
            return (ANSWERS, None) if kind == "grpo" else ANSWERS

    def reward(prompts, completions, **_given):
        return score(prompts, [turns[0]["content"] for turns in completions])

    model, tokenizer = loading.load_policy(parent, torch.float32)
    model.config._name_or_path = str(parent)  # by which the reference is loaded
    options = {
        "output_dir": str(folder), "per_device_train_batch_size": 8, "num_generations": 4, "num_iterations": 2,
        "max_completion_length": LONGEST, "temperature": CONFIG["temperature"], "beta": CONFIG["beta"],
        "epsilon": CONFIG["clip"], "report_to": "none", "use_cpu": True, "bf16": False, "disable_dropout": True,
        "gradient_checkpointing": False,
    }  # fmt: skip
    rows = [
        {"prompt": preference_runs.prompt(n)} for n in order(2, 3, configs.parse(kind, CONFIG))[:2] for _ in range(4)
    ]
    trainer = Trainer(
        model=model, reward_funcs=reward, args=config_class(**options | own), train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
    )  # fmt: skip
    trainer.current_gradient_accumulation_steps = 1
    model.train()
    move(model.named_parameters(), seed=0)
    inputs, found = trainer._generate_and_score_completions(rows), list[Step]()
    for seed in (1, 2):
        model.zero_grad()
        loss = trainer.compute_loss(model, inputs)
        loss.backward()
        found.append((loss.item(), {name: p.grad.clone() for name, p in model.named_parameters()}))
        move(model.named_parameters(), seed=seed)
    return found


def assert_alike(found: list[Step], expected: list[Step]) -> None:
    assert len(found) == len(expected) == 2
    for (loss, gradients), (their_loss, their_gradients) in zip(found, expected, strict=True):
        assert loss == pytest.approx(their_loss, abs=1e-5, rel=1e-4)
        assert gradients.keys() == their_gradients.keys()
        for name, gradient in their_gradients.items():
            most = float(gradient.abs().max())
            assert most > 0
            torch.testing.assert_close(gradients[name], gradient, atol=1e-4 * most, rtol=1e-4)


@pytest.mark.parametrize("tokens", [40, 1000])
@pytest.mark.parametrize(
    ("loss", "scale"),
    [("dapo", "group"), ("grpo", "group"), ("bnpo", "batch"), ("dr_grpo", "none")],
)
def test_grpos_loss_and_gradients_are_those_of_trl(parent, tmp_path, monkeypatch, loss, scale, tokens):
    """Of two updates on one batch: in the second the policy has left what drew the answers, and the clip binds."""
    found = ours(tmp_path / "run", parent, monkeypatch, "grpo", tokens=tokens, loss=loss, scale_rewards=scale)
    assert_alike(found, theirs(tmp_path, parent, "grpo", loss_type=loss, scale_rewards=scale))


@pytest.mark.parametrize("tokens", [40, 1000])
@pytest.mark.parametrize("normalises", [False, True])
def test_rloos_loss_and_gradients_are_those_of_trl(parent, tmp_path, monkeypatch, normalises, tokens):
    found = ours(tmp_path / "run", parent, monkeypatch, "rloo", tokens=tokens, normalise_advantages=normalises)
    assert_alike(found, theirs(tmp_path, parent, "rloo", normalize_advantages=normalises))


@pytest.mark.parametrize("kind", TRAINERS)
def test_without_a_price_of_kl_there_is_no_reference(parent, tmp_path, monkeypatch, kind):
    found = ours(tmp_path / "run", parent, monkeypatch, kind, tokens=1000, beta=0.0)
    assert_alike(found, theirs(tmp_path, parent, kind, beta=0.0))
