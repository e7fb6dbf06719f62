"""What a model thinks before it answers is not scored, by any recipe."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch.testing import assert_close

from tests.support.training.ppo_runs import PROMPTS, reward_head
from training.core.run_directory import RunSpec
from training.recipes.common import loading
from training.recipes.rewards.scoring import scorer_for, text_scorer_for
from training.rl.rollout import rollout_of
from training.rl.sampler import Completions

MESSAGES = [row["messages"] for row in PROMPTS[:2]]
THOUGHT = ["<think>b? c!</think>\nafter", "<think>no end"]
ANSWERS = ["after", ""]


def letters(prompts, texts):
    return [float(len(text)) for text in texts]


def scorers(model: Path, reward_model: str, function: str = ""):
    config = SimpleNamespace(rewards=(), reward_function=function)
    spec = RunSpec("ppo", {}, seed=1, parent=str(model), reward_model=reward_model)
    return scorer_for(spec, config), text_scorer_for(spec, config)


def read(model: Path, texts: list[str]):
    """The hidden states of prompts and texts in a parent, and their rollout."""
    trunk, tokenizer = loading.load_policy(model)
    tails = [loading.encode_completion(tokenizer, text, 64) for text in texts]
    heads = [loading.encode_prompt(tokenizer, messages, 64) for messages in MESSAGES]
    lengths = torch.tensor([max(len(tail), 1) for tail in tails])
    tokens = torch.zeros(len(texts), int(lengths.max()), dtype=torch.long)
    for row, tail in enumerate(tails):
        tokens[row, : len(tail)] = torch.tensor(tail, dtype=torch.long)
    rollout = rollout_of(heads, Completions(tokens, lengths, lengths < 0), tokenizer.pad_token_id)
    states = trunk(rollout.ids, output_hidden_states=True).hidden_states
    return {1: states[1].detach()}, rollout


@pytest.fixture(scope="module")
def head(model: Path, tmp_path_factory) -> str:
    return str(reward_head(tmp_path_factory.mktemp("reward"), model))


def test_a_function_is_given_answers(model):
    name = f"{__name__}.letters"
    of_ppo, of_others = scorers(model, "", name)
    hidden, rollout = read(model, THOUGHT)
    assert of_ppo.scored(MESSAGES, THOUGHT, hidden, rollout).scores.tolist() == [5, 0]
    assert of_others(MESSAGES, THOUGHT).scores.tolist() == [5, 0]


def test_a_head_on_the_policys_own_states_reads_answers_that_followed_thoughts_by_themselves(model, head):
    of_ppo, of_others = scorers(model, head)
    scored = of_ppo.scored(MESSAGES, THOUGHT, *read(model, THOUGHT))
    reward_model = of_ppo.model
    assert_close(scored.scores, reward_model.score(MESSAGES, ANSWERS))
    assert_close(scored.gold, reward_model.score_both(MESSAGES, ANSWERS)[1])
    assert_close(of_others(MESSAGES, THOUGHT).scores, of_others(MESSAGES, ANSWERS).scores)


def test_answers_without_thoughts_are_scored_by_the_states_that_are_there(model, head, monkeypatch):
    of_ppo, _ = scorers(model, head)
    texts = ["a < b", "so </think> it is"]
    wanted = of_ppo.model.score(MESSAGES, texts)
    monkeypatch.setattr(of_ppo.model, "score_both", lambda *_: pytest.fail("a second forward"))
    assert_close(of_ppo.scored(MESSAGES, texts, *read(model, texts)).scores, wanted, atol=1e-3, rtol=1e-3)
