"""Rows of several documents: no token of one changes anything in another, and every row comes once in a pass."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.support.training import corpora
from training.configs.presets import Preset
from training.recipes.pretrain import architectures, packing
from training.recipes.pretrain.objectives import Vocabulary, objective_named
from training.recipes.pretrain.text_rows import validation_rows
from training.recipes.pretrain.token_files import Counts, TokenFile

END = 0
TINY = Preset("tiny", 32, 2, 4, 2, 48, 1e-3, 400)


def test_a_row_holds_the_token_after_it_and_rows_leave_nothing_out():
    ids = np.arange(11, dtype=np.uint16)
    assert packing.count_rows(11, 3) == 3
    assert [packing.row(ids, i, 3).tolist() for i in range(3)] == [[0, 1, 2, 3], [3, 4, 5, 6], [6, 7, 8, 9]]
    assert packing.count_rows(9, 3) == 2, "the third row would lack the token after it"


def test_an_end_token_begins_a_document_and_positions_count_from_there():
    tokens = np.array([[END, 5, 6, END, 7, END, 8, 9], [4, 5, END, 6, 7, 8, 9, 4]])
    segments = packing.segments(tokens, END)
    assert segments.tolist() == [[1, 1, 1, 2, 2, 3, 3, 3], [1, 1, 2, 2, 2, 2, 2, 2]]
    assert packing.positions(segments).tolist() == [[0, 1, 2, 0, 1, 0, 1, 2], [0, 1, 0, 1, 2, 3, 4, 5]]


def test_a_causal_row_sees_its_documents_past_and_a_masked_one_both_sides():
    segments = torch.tensor([[1, 1, 2], [1, 2, 2]])
    mask = packing.attention_mask(segments, segments, torch.tensor([True, False]), torch.float32)
    assert (mask[:, 0] == 0).int().tolist() == [[[1, 0, 0], [1, 1, 0], [0, 0, 1]], [[1, 0, 0], [0, 1, 1], [0, 1, 1]]]


@pytest.mark.parametrize("count", [1, 2, 3, 7, 64, 1000])
def test_a_pass_visits_every_row_once_in_an_order_of_its_own(count):
    orders = [[packing.shuffled(i, count, seed) for i in range(count)] for seed in (1, 2)]
    assert all(sorted(order) == list(range(count)) for order in orders)
    if count >= 64:
        assert orders[0] != orders[1] and orders[0] != list(range(count))
        assert abs(np.corrcoef(orders[0], range(count))[0, 1]) < 0.3


def test_held_out_rows_cover_the_file_and_the_last_is_filled():
    file = TokenFile(np.array([END, 3, 4, END, 5, 6, END], dtype=np.uint16), Counts(2, 7, 10))
    rows = validation_rows(file, 4, END)
    assert [row.tolist() for row in rows] == [[END, 3, 4, END, 5], [5, 6, END, END, END]]
    vocabulary = Vocabulary(END, 9, 8, (), np.arange(1, 8))
    batch = objective_named("causal", vocabulary)(np.stack(rows), [])
    assert batch.targets == 6, "each token but the very first is predicted once; the filling is not"


@pytest.mark.parametrize("objective", ["causal", "masked", "span", "mixture"])
@pytest.mark.parametrize("length", [24, 1100])
def test_the_tokens_of_another_document_in_the_row_change_no_output(objective, length, monkeypatch):
    """Both ways to compute attention: two products for short rows, torch's own for long ones."""
    monkeypatch.setattr(architectures, "LONGEST", 1024 if length > 100 else architectures.LONGEST)
    tokenizer = corpora.tokenizer()
    vocabulary = Vocabulary.of(tokenizer, objective)
    torch.manual_seed(0)
    model = architectures.build(TINY, objective, tokenizer, length).eval()
    draw = np.random.default_rng(0)
    row = draw.choice(vocabulary.ordinary, length + 1)
    row[[0, length // 3, 2 * length // 3]] = vocabulary.end
    changed = row.copy()
    inside = slice(length // 3 + 1, 2 * length // 3)
    changed[inside] = draw.choice(vocabulary.ordinary, inside.stop - inside.start)

    def states(tokens):
        make = objective_named(objective, vocabulary, hidden_share=0.3)
        batch = make(np.stack([tokens, tokens]), [np.random.default_rng(s) for s in (5, 8)])
        with torch.no_grad():
            hidden, _ = architectures.hidden_states(model, batch)
        segments = batch.segments if batch.decoder_segments is None else batch.decoder_segments
        return hidden, segments[batch.labels != -100]

    before, owners = states(row)
    after, _ = states(changed)
    others = owners != 2
    assert others.any() and (~others).any()
    assert torch.equal(before[others], after[others])
    assert not torch.allclose(before[~others], after[~others], atol=1e-3)


def test_a_document_is_computed_in_a_row_as_it_is_alone():
    tokenizer = corpora.tokenizer()
    vocabulary = Vocabulary.of(tokenizer, "causal")
    torch.manual_seed(0)
    model = architectures.build(TINY, "causal", tokenizer, 32).eval()
    draw = np.random.default_rng(0)
    documents = [np.append(vocabulary.end, draw.choice(vocabulary.ordinary, n)) for n in (9, 14)]
    row = np.concatenate([*documents, [vocabulary.end]])
    with torch.no_grad():
        packed, _ = architectures.hidden_states(model, objective_named("causal", vocabulary)(row[None], []))
        with architectures.unpacked(model):
            alone = model.model(input_ids=torch.from_numpy(documents[1])[None]).last_hidden_state[0]
    torch.testing.assert_close(packed[10:], alone, atol=1e-5, rtol=1e-4)
