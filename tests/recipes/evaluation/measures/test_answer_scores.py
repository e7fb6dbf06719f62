"""Scores of given answers under a model: each way of computing them gives what the model's own logits give."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from evaluation.recipes.common import answer_scores
from evaluation.recipes.common.answer_scores import Answer, Tokens, batches
from tests.support import tiny_model
from training.recipes.common import loading

TEXTS = ("It is 0.", "It was 37, as everybody knows.", "No.")


@pytest.fixture(scope="module")
def parent(tmp_path_factory) -> Path:
    return tiny_model.make(tmp_path_factory.mktemp("models") / "parent")


def encoded(tokenizer, count: int) -> list[Tokens]:
    """Return answers to two prompts, one of which is asked often."""
    asked = ([{"role": "user", "content": f"What is {place // 4}?"}] for place in range(count))
    answers = [Answer(prompt, TEXTS[place % 3], False) for place, prompt in enumerate(asked)]
    end = tokenizer.eos_token_id
    return [answer_scores.encode(tokenizer, answer, place, 200, end) for place, answer in enumerate(answers)]


@pytest.mark.parametrize("method", ["packed", "states"])
def test_each_way_gives_what_the_models_own_logits_give(parent, method):
    model, tokenizer = loading.load_policy(parent, torch.float32)
    batch = encoded(tokenizer, 6)
    found = answer_scores.forward(model, batch, method, 0.7)
    for one, same in zip(found, answer_scores.forward(model, batch, "logits", 0.7), strict=True):
        assert one == pytest.approx(same, rel=1e-4)
        assert one[4] != pytest.approx(one[1], rel=0.01), "the temperature tells"


def test_figures_are_those_of_the_models_distribution(parent):
    model, tokenizer = loading.load_policy(parent, torch.float32)
    (one,) = encoded(tokenizer, 1)
    with torch.no_grad():
        logits = model(torch.tensor([one.ids])).logits[0, one.scored_from - 1 : -1].double()
    targets = torch.tensor(one.ids[one.scored_from :])
    plain, warm = logits.log_softmax(-1), (logits / 0.7).log_softmax(-1)
    expected = (
        one.place,
        -float(plain.gather(1, targets[:, None]).sum()),
        -float((plain.exp() * plain).sum()),
        len(targets),
        -float(warm.gather(1, targets[:, None]).sum()),
    )
    assert answer_scores.method_of(model) == "packed"
    assert answer_scores.forward(model, [one], "packed", 0.7)[0] == pytest.approx(expected, rel=1e-4)


def test_a_token_that_cannot_be_drawn_leaves_the_entropy_finite():
    logits = torch.tensor([[1.0, 1.0, float("-inf")]])
    _, entropy, _ = answer_scores.of_logits(logits, torch.tensor([0]), 0.7)
    assert float(entropy) == pytest.approx(math.log(2))


def test_what_answers_begin_with_is_counted_once_where_it_is_read_once():
    stem = list(range(100))
    alike = [Tokens(place, [*stem, 200 + place % 7, 300], 100) for place in range(20)]
    shared = list(batches(alike, 600, shares=True))
    assert len(shared) == 1 and {one.place for one in shared[0]} == set(range(20))
    assert [len(batch) for batch in batches(alike, 204, shares=False)] == [2] * 10
    assert max(map(len, batches(alike, 150, shares=True))) == 5, "of 102 tokens each, attention copies at most 600"
    apart = [Tokens(place, [place] * 100, 50) for place in range(4)]
    assert [len(batch) for batch in batches(apart, 200, shares=True)] == [2, 2]


def test_an_answer_ends_by_the_token_that_the_chat_template_writes(parent):
    model, tokenizer = answer_scores.likelihood.load(str(parent))
    own = tokenizer.eos_token_id
    ids = tokenizer.apply_chat_template(
        [{"role": "user", "content": "a"}, {"role": "assistant", "content": "a"}], tokenize=True, return_dict=False
    )
    assert own in ids and answer_scores.end_token(model, tokenizer) == own
    tokenizer.eos_token = tokenizer.pad_token
    model.generation_config.eos_token_id = [own, tokenizer.pad_token_id]
    assert answer_scores.end_token(model, tokenizer) == own
    answer = Answer([{"role": "user", "content": "Why?"}], "So.", False)
    assert answer_scores.encode(tokenizer, answer, 0, 200, own).ids[-1] == own
