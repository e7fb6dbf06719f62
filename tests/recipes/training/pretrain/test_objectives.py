"""What a row asks: labels in their places, the shares that were asked for, and T5's own numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tests.support.training import corpora
from training.core.run_directory import RecipeFailure
from training.recipes.common.token_loss import token_loss
from training.recipes.pretrain import objectives
from training.recipes.pretrain.objectives import IGNORED, Vocabulary, corrupt_spans, noise_spans, objective_named

END, PAD, MASK = 0, 1, 2
SENTINELS = tuple(range(900, 1000))
VOCABULARY = Vocabulary(END, PAD, MASK, SENTINELS, np.arange(10, 900))


def rows(count: int = 4, length: int = 200) -> np.ndarray:
    made = np.random.default_rng(3).integers(10, 900, (count, length + 1))
    made[:, 0] = END
    made[:, 50] = END
    return made


def draws(count: int, seed: int = 0) -> list[np.random.Generator]:
    return [np.random.default_rng((seed, n)) for n in range(count)]


def test_causal_labels_are_the_next_tokens_the_end_among_them():
    made = rows()
    batch = objective_named("causal", VOCABULARY)(made, draws(4))
    assert torch.equal(batch.labels, torch.from_numpy(made[:, 1:]))
    assert batch.labels[0, 49] == END and batch.segments[0, 49] == 1 and batch.segments[0, 50] == 2


def test_bert_hides_a_share_eight_of_ten_by_a_mask_one_by_another_token_one_by_itself():
    made = rows(64, 512)
    batch = objective_named("masked", VOCABULARY, hidden_share=0.15)(made, draws(64))
    hidden = (batch.labels != IGNORED).numpy()
    tokens, inputs = made[:, :-1], batch.input_ids.numpy()
    assert hidden.mean() == pytest.approx(0.15, abs=0.01)
    assert (tokens[hidden] == batch.labels.numpy()[hidden]).all()
    assert (inputs[~hidden] == tokens[~hidden]).all()
    assert (inputs[hidden] == MASK).mean() == pytest.approx(0.8, abs=0.02)
    assert (inputs[hidden] == tokens[hidden]).mean() == pytest.approx(0.1, abs=0.02)
    assert not hidden[tokens == END].any()


def test_all_mask_leaves_nothing_but_masks():
    batch = objective_named("masked", VOCABULARY, hidden_share=0.3, mask_style="all-mask")(rows(), draws(4))
    assert (batch.input_ids[batch.labels != IGNORED] == MASK).all()


def test_span_corruption_of_t5s_own_example():
    """Raffel 2019, figure 2: "Thank you for inviting me to your party last week", spans "for inviting" and "last"."""
    words = ["Thank", "you", "for", "inviting", "me", "to", "your", "party", "last", "week"]
    tokens = np.arange(100, 110)
    noise = np.array([word in ("for", "inviting", "last") for word in words])
    inputs, targets = corrupt_spans(tokens, noise, SENTINELS, END)
    x, y, z = SENTINELS[:3]
    assert inputs.tolist() == [100, 101, x, 104, 105, 106, 107, y, 109, END]
    assert targets.tolist() == [x, 102, 103, y, 108, z, END], "the figure's <X> for inviting <Y> last <Z>"


def test_span_lengths_are_those_of_t5s_preprocessing():
    """568 raw tokens make 512 of input and 114 of target at 15 % and 3: `random_spans_helper` in T5's preprocessors."""
    for seed in range(20):
        noise = noise_spans(568, 0.15, 3.0, 100, np.random.default_rng(seed))
        inputs, targets = corrupt_spans(np.arange(10, 578), noise, SENTINELS, END)
        assert (len(inputs), len(targets), int(noise.sum())) == (512, 114, 85)
        assert not noise[0] and noise[-1], "kept and noisy spans alternate, a kept one first"


def test_read_and_written_together_are_the_text():
    made = rows(3, 120)
    batch = objective_named("span", VOCABULARY, hidden_share=0.15)(made, draws(3))
    for row in range(3):
        for segment, document in ((1, made[row, 1:50]), (2, made[row, 51:-1])):
            read = batch.input_ids[row][batch.segments[row] == segment].tolist()
            written = batch.labels[row][batch.decoder_segments[row] == segment].tolist()
            assert read[-1] == written[-1] == END
            assert restored(read[:-1], written[:-1]) == document.tolist()
            given = batch.decoder_ids[row][batch.decoder_segments[row] == segment].tolist()
            assert given == [PAD, *written[:-1]], "the decoder reads what it has written, from a pad token on"


def restored(read: list[int], written: list[int]) -> list[int]:
    """Each sentinel of what is read replaced by what is written after it."""
    spans: dict[int, list[int]] = {}
    for token in written:
        if token in SENTINELS:
            spans[token] = []
        else:
            spans[next(reversed(spans))].append(token)
    return [token for sentinel in read for token in spans.get(sentinel, [sentinel])]


def test_mixture_predicts_a_hidden_token_at_the_place_before_it():
    made = rows(64)
    batch = objective_named("mixture", VOCABULARY, hidden_share=0.3, causal_probability=0.25)(made, draws(64))
    assert batch.causal.float().mean() == pytest.approx(0.25, abs=0.12)
    for row in range(64):
        if batch.causal[row]:
            assert torch.equal(batch.labels[row], torch.from_numpy(made[row, 1:]))
            assert torch.equal(batch.input_ids[row], torch.from_numpy(made[row, :-1]))
            continue
        places = (batch.labels[row] != IGNORED).nonzero()[:, 0]
        assert len(places) > 30
        assert (batch.labels[row][places].numpy() == made[row, places + 1]).all()
        assert (batch.input_ids[row][places + 1] == MASK).float().mean() > 0.6


@pytest.mark.parametrize("probability", [0.0, 1.0])
def test_mixture_of_one_objective_is_that_objective(probability):
    made = rows(16)
    batch = objective_named("mixture", VOCABULARY, causal_probability=probability)(made, draws(16))
    assert batch.causal.float().mean() == probability


@pytest.mark.parametrize("name", ["masked", "span", "mixture"])
def test_the_same_draws_hide_the_same_tokens_and_others_hide_others(name):
    make = objective_named(name, VOCABULARY)
    first, again, other = (make(rows(), draws(4, seed)) for seed in (1, 1, 2))
    assert torch.equal(first.input_ids, again.input_ids)
    assert first.input_ids.shape != other.input_ids.shape or not torch.equal(first.input_ids, other.input_ids)


def test_a_short_document_is_corrupted_without_error():
    made = np.array([[END, 10, END, 11, 12, END, 13, 14, 15, 16]])
    batch = objective_named("span", VOCABULARY, hidden_share=0.15)(made, draws(1))
    assert batch.targets >= 4
    assert set(batch.decoder_segments[0].tolist()) <= {0, 1, 2}


@pytest.mark.parametrize(
    ("objective", "choices", "words"),
    [
        ("causal", {"without": ("<|endoftext|>",)}, "end token"),
        ("causal", {"without": ("<|pad|>",)}, "pad token"),
        ("masked", {"without": ("<|mask|>",)}, "mask"),
        ("mixture", {"without": ("<|mask|>",)}, "mask"),
        ("span", {"sentinels": 0}, "sentinels"),
    ],
)
def test_a_tokenizer_that_lacks_what_the_objective_needs_is_refused(objective, choices, words):
    with pytest.raises(RecipeFailure, match=words) as caught:
        Vocabulary.of(corpora.tokenizer(**choices), objective)
    assert caught.value.code == "tokenizer_does_not_fit" and caught.value.remedy


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_loss_without_logits_is_torchs_cross_entropy_with_its_gradients(dtype, monkeypatch):
    monkeypatch.setattr("training.recipes.common.token_loss.loss_logits", lambda _: 50 * 20)  # several parts
    torch.manual_seed(0)
    hidden = torch.randn(77, 24, dtype=dtype, requires_grad=True)
    weight = torch.randn(50, 24, dtype=dtype, requires_grad=True)
    targets = torch.randint(50, (77,))
    loss, losses = token_loss(hidden, weight, targets, 1 / 77)
    (3 * loss).backward()
    ours = hidden.grad, weight.grad
    hidden.grad = weight.grad = None
    expected = F.cross_entropy(hidden.float() @ weight.float().T, targets, reduction="none")
    (3 * expected.mean()).backward()
    loose = {"atol": 2e-2, "rtol": 2e-2} if dtype == torch.bfloat16 else {"atol": 1e-5, "rtol": 1e-5}
    torch.testing.assert_close(losses, expected.detach(), **loose)
    torch.testing.assert_close(ours[0], hidden.grad, **loose)
    torch.testing.assert_close(ours[1], weight.grad, **loose)


def test_a_certain_prediction_has_a_finite_loss():
    hidden, weight = torch.eye(2) * 300, torch.eye(2)
    _, losses = token_loss(hidden, weight, torch.tensor([1, 1]), 1.0)
    torch.testing.assert_close(losses, torch.tensor([300.0, 0.0]))


def test_objectives_are_known_by_name_alone():
    with pytest.raises(ValueError, match="no objective"):
        objectives.objective_named("prefix", VOCABULARY)
