"""What SFT learns of a row: the answers and their ends, nothing else; chats; and which prompts are held out."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from tests.support import tiny_model
from tests.support.training.attention_masks import no_masks
from training.core import batch_planner
from training.core.run_directory import RunDirectory, RunSpec
from training.recipes.common import children, loading
from training.recipes.sft import examples as examples_of_runs
from training.recipes.sft.examples import Example, encode, hold_out, last_prompt
from training.recipes.sft.trained_model import Student

CHAT = [
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Yo"},
    {"role": "user", "content": "Why?"},
    {"role": "assistant", "content": "So."},
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_model.make(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def tokenizer(folder):
    return loading.load_tokenizer(folder)


def learnt_text(tokenizer, example: Example) -> str:
    return tokenizer.decode([t for t, is_learnt in zip(example.tokens, example.learnt, strict=True) if is_learnt])


def test_every_assistant_turn_of_a_chat_is_learnt_and_the_rest_is_context(tokenizer):
    example = encode(tokenizer, {"messages": CHAT}, 512)
    assert learnt_text(tokenizer, example) == "Yo<|im_end|>So.<|im_end|>"
    whole = tokenizer.apply_chat_template(CHAT, tokenize=False)
    assert tokenizer.decode(example.tokens) == whole.removesuffix("\n")


def test_each_turn_of_a_chat_meets_what_the_policy_meets_when_it_answers(tokenizer):
    example = encode(tokenizer, {"messages": CHAT}, 512)
    prompt = loading.encode_prompt(tokenizer, CHAT[:3], 512)
    assert example.tokens[: len(prompt)] == prompt
    assert example.learnt[len(prompt) :] == [True] * 4


def test_a_chat_and_a_pair_that_say_the_same_are_the_same_example(tokenizer):
    pair = encode(tokenizer, {"prompt": CHAT[:1], "completion": "Yo"}, 512)
    assert encode(tokenizer, {"messages": CHAT[:2]}, 512) == pair
    assert encode(tokenizer, {"messages": CHAT[:3]}, 512) == pair  # nobody answers the last turn
    assert last_prompt({"messages": CHAT}) == CHAT[:3]


def test_an_answer_that_the_limit_cut_off_has_no_end_to_be_learnt(tokenizer):
    assert learnt_text(tokenizer, encode(tokenizer, {"messages": CHAT, "is_cut": True}, 512)) == "Yo<|im_end|>So."
    row = {"prompt": CHAT[:1], "completion": "Yo", "is_cut": True}
    assert learnt_text(tokenizer, encode(tokenizer, row, 512)) == "Yo"


def test_a_long_chat_loses_its_beginning_and_no_half_of_an_answer_is_learnt(tokenizer):
    whole = encode(tokenizer, {"messages": CHAT}, 512)
    first = whole.learnt.index(True)
    cut = encode(tokenizer, {"messages": CHAT}, len(whole.tokens) - first - 1)  # within the first answer
    assert cut.tokens == whole.tokens[first + 1 :]
    assert learnt_text(tokenizer, cut) == "So.<|im_end|>"


def test_a_template_that_renders_the_past_anew_teaches_the_last_answer_alone(tokenizer, monkeypatch):
    template = "{% for m in messages %}{% if loop.last or m.role == 'user' %}{{ m.content }}|{% endif %}{% endfor %}"
    monkeypatch.setattr(tokenizer, "chat_template", template)
    example = encode(tokenizer, {"messages": CHAT}, 512)
    assert learnt_text(tokenizer, example) == "So.<|im_end|>"
    assert example.tokens[:-4] == loading.encode_prompt(tokenizer, CHAT[:3], 512)


def student_of(folder, adapters: str = "full", dtype: torch.dtype = torch.float32) -> Student:
    model, _ = loading.load_policy(folder, dtype)
    return Student(model, adapters, rank=4, seed=0, dtype=dtype)


ROWS = [
    {"prompt": CHAT[:1], "completion": "Yo there"},
    {"messages": CHAT},
    {"prompt": CHAT[:3], "completion": "So", "is_cut": True},
]


@pytest.mark.parametrize("is_packed", [True, False])
def test_loss_and_gradients_are_plain_cross_entropys_on_the_learnt_tokens(folder, tokenizer, is_packed):
    student = student_of(folder)
    assert student.is_packed
    student.is_packed = is_packed
    examples = [encode(tokenizer, row, 512) for row in ROWS]
    targets = sum(e.targets for e in examples)
    with no_masks():
        loss, losses = student.loss(examples, 1 / targets)
    loss.backward()
    found = {name: p.grad.clone() for name, p in student.model.named_parameters()}

    student.model.zero_grad()
    summed = torch.zeros(())
    for example in examples:
        logits = student.model(input_ids=torch.tensor([example.tokens])).logits[0]
        labels = torch.tensor([t if on else -100 for t, on in zip(example.tokens, example.learnt, strict=True)])
        summed = summed + F.cross_entropy(logits[:-1], labels[1:], ignore_index=-100, reduction="sum")
    (summed / targets).backward()
    assert len(losses) == targets
    torch.testing.assert_close(loss, summed / targets)
    for name, parameter in student.model.named_parameters():
        torch.testing.assert_close(found[name], parameter.grad, rtol=1e-4, atol=1e-6, msg=lambda m, n=name: f"{n}: {m}")


def test_what_the_prompt_says_is_not_learnt(folder, tokenizer):
    student = student_of(folder)
    example = encode(tokenizer, ROWS[0], 512)
    first = example.learnt.index(True)
    # Other targets at the prompt's places change nothing: the loss reads the tokens only as context there.
    _, losses = student.loss([example], 1.0)
    assert len(losses) == len(example.tokens) - first
    everything = Example(example.kin, example.tokens, [False, *[True] * (len(example.tokens) - 1)])
    _, all_losses = student.loss([everything], 1.0)
    torch.testing.assert_close(all_losses[first - 1 :], losses)


def test_a_batch_split_or_whole_gives_the_same_gradients(folder, tokenizer):
    examples = [encode(tokenizer, row, 512) for row in ROWS * 2]
    targets = sum(e.targets for e in examples)
    found = []
    for tokens in (10_000, 60):
        student = student_of(folder, "lora")
        groups = batch_planner.micro_batches([len(e.tokens) for e in examples], tokens, padded=False)
        assert (len(groups) == 1) == (tokens == 10_000)
        for group in groups:
            student.loss([examples[i] for i in group], 1 / targets)[0].backward()
        found.append(torch.cat([p.grad.flatten() for p in student.masters.masters.values()]))
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-6)


def test_the_kept_trunk_is_what_running_it_gives(folder, tokenizer):
    examples = [encode(tokenizer, row, 512) for row in ROWS]
    student = student_of(folder, "top")
    fresh = student.loss(examples, 1.0)[1]
    assert student.keep_trunk(examples, 1000)
    student.base.embed_tokens.weight.data.zero_()  # nothing below is looked at any more
    torch.testing.assert_close(student.loss(examples, 1.0)[1], fresh)
    assert not student_of(folder, "lora").keep_trunk(examples, 1000)


def test_stored_examples_are_the_encoded_rows_and_are_encoded_once(tokenizer, tmp_path, monkeypatch):
    run = RunDirectory(tmp_path)
    run.create(RunSpec("sft", {}), {"examples": iter([*ROWS, {"prompt": CHAT[:1], "completion": "  "}])})
    stored = examples_of_runs.store_examples(run, tokenizer, 512)
    assert [(e.tokens, e.learnt) for e in stored] == [
        (e.tokens, e.learnt) for e in (encode(tokenizer, row, 512) for row in ROWS)
    ]
    assert stored.lengths == [len(e.tokens) for e in stored] and [e.number for e in stored] == list(range(len(ROWS)))
    monkeypatch.setattr(examples_of_runs, "encode", lambda *_: pytest.fail("encoded again"))
    assert list(examples_of_runs.store_examples(run, tokenizer, 512)) == list(stored)


def test_stored_examples_are_held_out_like_those_in_memory(tokenizer, tmp_path):
    run = RunDirectory(tmp_path)
    rows = [{"prompt": [{"role": "user", "content": f"p{i % 60}"}], "completion": f"a{i}"} for i in range(120)]
    run.create(RunSpec("sft", {}), {"examples": iter(rows)})
    stored = examples_of_runs.store_examples(run, tokenizer, 512).hold_out(0.3, 20)
    whole = hold_out([encode(tokenizer, row, 512) for row in rows], 0.3, 20)
    assert len(stored[1]) == 20
    for ours, theirs in zip(stored, whole, strict=True):
        assert [e.tokens for e in ours] == [e.tokens for e in theirs]
    assert [e.tokens for e in stored[0] + stored[1]] == [e.tokens for part in whole for e in part]


def example_of(prompt: str) -> Example:
    return Example(prompt, [1, 2], [False, True])


def test_prompts_are_held_out_whole_and_alike_in_every_dataset():
    examples = [example_of(f"p{i % 200}") for i in range(400)]
    learn, held = hold_out(examples, 0.2, 1000)
    prompts = [{e.kin for e in part} for part in (learn, held)]
    assert not prompts[0] & prompts[1]
    assert len(learn) + len(held) == 400
    assert 40 < len(held) < 120
    grown = examples + [example_of(f"q{i}") for i in range(100)]
    assert prompts[1] <= {e.kin for e in hold_out(grown, 0.2, 1000)[1]}
    assert len(hold_out(examples, 0.2, 25)[1]) == 25


def test_a_small_dataset_is_learnt_whole():
    examples = [example_of(f"p{i}") for i in range(60)]
    assert hold_out(examples, 0.1, 200) == (examples, [])
    assert hold_out(examples * 10, 0.0, 200)[1] == []


def test_a_tenth_of_the_demos_examples_is_held_out():
    learn, held = hold_out([example_of(f"p{i}") for i in range(141)], 0.1, 200)
    assert len(held) >= 10
    assert len(learn) + len(held) == 141


def test_turns_of_one_chat_and_wordings_of_one_row_are_held_out_together(tokenizer):
    turns = [{"prompt": CHAT[:1], "completion": "Yo"}, {"prompt": CHAT[:3], "completion": "So."}, {"messages": CHAT}]
    assert len({encode(tokenizer, row, 512).kin for row in turns}) == 1
    worded = [{"prompt": [{"role": "user", "content": words}], "completion": "x", "of": "9f"} for words in ("A", "B")]
    assert len({encode(tokenizer, row, 512).kin for row in worded}) == 1


def test_after_saving_the_loss_is_that_of_the_saved_model(folder, tokenizer, monkeypatch, tmp_path):
    """With 4 bits the saved model is another one than that which learnt: here it learnt over weights of nothing."""
    monkeypatch.setenv("ASSAY_DTYPE", "float32")
    examples = [encode(tokenizer, row, 512) for row in ROWS]
    student = student_of(folder, "qlora")
    for layer in student.base.layers:
        layer.mlp.up_proj.base.weight.data.zero_()
    student.measure_with(children.save_child(folder, student.model, tokenizer, tmp_path / "child", []).model)
    parent = student_of(folder)  # adapters that learnt nothing add nothing
    torch.testing.assert_close(student.loss(examples, 1.0)[1], parent.loss(examples, 1.0)[1], rtol=1e-4, atol=1e-4)
