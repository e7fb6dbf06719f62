"""The reward model: what it sees, its likelihood, its figures, and the recipe from annotations to a saved model."""

from __future__ import annotations

import dataclasses
import json
import math
import random
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from annotate.data.datasets.preferences import Comparison, Rating
from common import roc_auc
from tests.support import tiny_model
from tests.support.training.reward_of_two_penalties import draw_few, try_few
from training.configs import RewardConfig
from training.core import reward_trust
from training.core.run_directory import RecipeFailure, RunDirectory, RunSpec
from training.recipes.common import entry, features, loading
from training.recipes.common.adapters import is_adapter
from training.recipes.reward import __main__ as reward
from training.recipes.reward import feedback_likelihood as likelihood
from training.recipes.reward import finetuning as reward_finetune
from training.recipes.reward import head_fit, reward_report
from training.recipes.reward import pooled_forwards as reward_forwards
from training.recipes.reward import reward_accuracy as reward_measures
from training.recipes.reward.designs.design import Design
from training.recipes.reward.reward_accuracy import Estimate
from training.recipes.reward.reward_model import RewardModel

pytestmark = pytest.mark.usefixtures("one_thread", "few_trials")

HELLO = [{"role": "user", "content": "Hello"}]


@pytest.fixture(scope="module")
def parent(tmp_path_factory) -> Path:
    return tiny_model.make(tmp_path_factory.mktemp("models") / "tiny")


# What it sees


def test_completion_states_are_the_models_own_hidden_states(parent):
    model, tokenizer = loading.load_policy(parent, dtype=torch.float32)
    prompts = [[5, 6, 7], [8, 9]]
    groups = [[[1, 2, 3], [4]], [[10, 11]]]
    states, mask = features.completion_states(model, prompts, groups, [0, 1, 2, 3], tokenizer.pad_token_id)
    flat = [(prompts[i], c) for i, group in enumerate(groups) for c in group]
    for row, (prompt, completion) in enumerate(flat):
        whole = model(torch.tensor([prompt + completion]), output_hidden_states=True).hidden_states
        for layer in range(4):
            wanted = whole[layer][0, len(prompt) :]
            torch.testing.assert_close(states[layer][row, : len(completion)], wanted, atol=1e-5, rtol=1e-4)
        assert mask[row].sum() == len(completion)


def test_layers_above_the_highest_needed_do_not_run(parent):
    model, _ = loading.load_policy(parent)
    ran = []
    for index, layer in enumerate(features.decoder_layers(model)):
        layer.register_forward_hook(lambda *_, index=index: ran.append(index))
    model.lm_head.register_forward_hook(lambda *_: ran.append("head"))
    ids = torch.tensor([[1, 2, 3]])
    features.hidden_states(model, ids, torch.ones_like(ids), [1, 2])
    assert ran == [0, 1]


def test_pooling_means_and_takes_the_last_of_the_completions_tokens_alone():
    hidden = {4: torch.tensor([[[9.0], [1.0], [3.0], [99.0]], [[9.0], [9.0], [9.0], [9.0]]])}
    mask = torch.tensor([[False, True, True, False], [False] * 4])
    assert features.pool(hidden, mask, [(4, "mean"), (4, "last")]).tolist() == [[2.0, 3.0], [0.0, 0.0]]


# Its likelihood


def two_answers(wins: int, losses: int, ties: int = 0) -> list[Comparison]:
    return [
        Comparison(1, 0, 1, winner)
        for winner, count in (("model_a", wins), ("model_b", losses), ("tie", ties))
        for _ in range(count)
    ]


def fitted(comparisons, ratings=(), answers: int = 2):
    """(scores, cuts) of a head that can give each answer any score."""
    observed = likelihood.observe(comparisons, list(ratings), {i: i for i in range(answers)})
    head = head_fit.fit(Design.of(torch.eye(answers), torch.arange(answers)), observed, ridge=1e-7)
    return head.scores(torch.eye(answers)), likelihood.split_cuts(head.cuts, observed)


def test_pairs_without_ties_give_bradley_terry():
    scores, cuts = fitted(two_answers(wins=30, losses=10))
    assert (scores[0] - scores[1]).item() == pytest.approx(math.log(3), abs=0.01)
    assert cuts.pair_cuts[0].item() == pytest.approx(likelihood.GAP_BOUNDS[0])


def test_ties_give_rao_and_kuppers_estimates():
    """Two answers, three outcomes, two parameters: the fit must give back the shares 0.5, 0.2, 0.3."""
    scores, cuts = fitted(two_answers(wins=500, losses=200, ties=300))
    win, loss = (math.log(p / (1 - p)) for p in (0.5, 0.2))
    assert (scores[0] - scores[1]).item() == pytest.approx((win - loss) / 2, abs=0.01)
    assert cuts.pair_cuts[0].item() == pytest.approx(-(win + loss) / 2, abs=0.01)


@pytest.mark.parametrize("winner", ["model_a", "model_b", "tie", "both_bad"])
def test_three_pairs_that_share_one_annotations_weight_weigh_as_one(winner):
    one, *three = (Comparison(1, 0, 1, winner, weight=weight) for weight in (1.0, 1 / 3, 1 / 3, 1 / 3))
    scores = torch.tensor([0.7, -0.2], dtype=torch.float64)
    flat = torch.tensor([0.4, 0.3, 0.9, 0.1, -0.5, 0.0, 0.0, 0.0, 0.2], dtype=torch.float64)

    def nll(*said: Comparison) -> float:
        observed = likelihood.observe(said, [], {0: 0, 1: 1})
        return likelihood.joint_nll(scores, observed, likelihood.split_cuts(flat, observed)).item()

    assert nll(*three) == pytest.approx(nll(one))
    assert nll(one, *three) == pytest.approx(2 * nll(one))


def test_weights_stay_with_their_pairs():
    said = [Comparison(1, 0, 1, "model_a", weight=0.5), Comparison(2, 2, 3, "model_b"), Comparison(1, 0, 1, "tie")]
    observed = likelihood.observe(said, [], {i: i for i in range(4)})
    kept = observed.among(torch.tensor([False, False, True, True]))
    assert observed.pair_weight.tolist() == [0.5, 1.0] and kept.pair_weight.tolist() == [1.0]
    assert observed.tie_weight is None
    assert observed.only(pairs=True).pair_weight.tolist() == [0.5, 1.0]


def test_the_outcomes_of_a_comparison_have_probabilities_that_sum_to_one():
    scores = torch.tensor([0.7, -0.2], dtype=torch.float64)
    outcomes = [Comparison(1, 0, 1, winner, strength) for winner in ("model_a", "model_b") for strength in (1, 2, 3)]
    outcomes += [Comparison(1, 0, 1, "tie"), Comparison(1, 0, 1, "both_bad")]
    total = 0.0
    everything = likelihood.observe(outcomes, [], {0: 0, 1: 1})
    flat = torch.tensor([0.4, 0.3, 0.9, 0.1, -0.5, 0.0, 0.0, 0.0, 0.2], dtype=torch.float64)
    for which in range(6):
        observed = likelihood.observe(outcomes[which : which + 1], [], {0: 0, 1: 1})
        total += math.exp(-likelihood.joint_nll(scores, observed, likelihood.split_cuts(flat, observed)).item())
    none = torch.tensor([], dtype=torch.long)
    level = dataclasses.replace(everything, chosen=none, rejected=none, strength=none, pair_author=none)
    both = likelihood._ties(scores, level, likelihood.split_cuts(flat, level)).exp()
    assert total + both.sum().item() == pytest.approx(1.0)


def test_star_counts_have_probabilities_that_sum_to_one():
    scores = torch.tensor([0.3], dtype=torch.float64)
    total = 0.0
    for star in range(1, 6):
        # The other counts are named by an answer that weighs nothing here: they only fix the number of cuts.
        observed = likelihood.observe([], [Rating(0, stars=s) for s in range(1, 6)], {0: 0})
        observed = dataclasses.replace(
            observed, starred=torch.tensor([0]), stars=torch.tensor([star - 1]), stars_author=torch.tensor([0])
        )
        flat, _ = likelihood.initial_cuts(observed)
        total += math.exp(-likelihood.joint_nll(scores, observed, likelihood.split_cuts(flat, observed)).item())
    assert total == pytest.approx(1.0)


def test_thumbs_stars_and_pairs_pull_one_score_the_same_way():
    thumbs = [Rating(answer, thumbs=(answer == 0) != (i < 2)) for answer in (0, 1) for i in range(10)]
    stars = [Rating(answer, stars=4 if (answer == 0) != (i < 2) else 2) for answer in (0, 1) for i in range(10)]
    for comparisons, ratings in ((two_answers(8, 2), []), ([], thumbs), ([], stars)):
        scores, _ = fitted(comparisons, ratings)
        assert scores[0] - scores[1] > 1.0
    contradicted, _ = fitted(two_answers(2, 8), thumbs)
    agreed, _ = fitted(two_answers(8, 2), thumbs)
    assert agreed[0] - agreed[1] > contradicted[0] - contradicted[1] + 1.0


def test_a_harsh_judges_stars_do_not_lower_the_answers_they_saw():
    mild = [Rating(0, stars=s, author=1) for s in (4, 5, 5, 5) * 5]
    harsh = [Rating(1, stars=s, author=2) for s in (2, 1, 1, 1) * 5]
    shared = [Rating(i % 2, stars=5, author=1) for i in range(20)] + [
        Rating(i % 2, stars=1, author=2) for i in range(20)
    ]
    scores, cuts = fitted([], mild + harsh + shared)
    alone, _ = fitted([], [dataclasses.replace(r, author=1) for r in mild + harsh + shared])
    assert cuts.stars_author[0] > cuts.stars_author[1]
    assert scores[0] - scores[1] < alone[0] - alone[1]


# Its figures


def test_auc_counts_the_pairs_in_the_right_order():
    scores, up = np.array([1.0, 2.0, 3.0, 3.0]), np.array([0.0, 1.0, 0.0, 1.0])
    assert roc_auc.of_labels(scores, up) == pytest.approx((1 + 0 + 1 + 0.5) / 4)


def test_equal_scores_are_half_right():
    assert reward_measures.pair_accuracy(np.array([1.0, 2.0]), np.array([1.0, 1.0])) == 0.75


@pytest.mark.parametrize("distinct", [1, 2, 5, 1000])
def test_rank_correlation_is_scipys(distinct):
    draw = np.random.default_rng(distinct)
    a, b = draw.integers(0, distinct, 50).astype(float), draw.integers(0, 5, 50).astype(float)
    if distinct == 1:
        assert math.isnan(reward_measures.spearman(a, b))
    else:
        assert reward_measures.spearman(a, b) == pytest.approx(spearmanr(a, b).statistic, abs=1e-12)
    assert math.isnan(reward_measures.spearman(np.array([1.0, np.nan, 2.0]), np.array([1.0, 2.0, 3.0])))


def test_an_interval_counts_prompts_and_not_annotations():
    """Ten prompts whose twenty annotations all agree tell as much as ten annotations."""
    right = np.repeat(np.arange(10) < 6, 20).astype(float)
    prompts = np.repeat(np.arange(10), 20)
    wide = reward_measures.bootstrap(lambda i: float(right[i].mean()), prompts, seed=0)
    narrow = reward_measures.bootstrap(lambda i: float(right[i].mean()), np.arange(200), seed=0)
    assert wide.value == narrow.value == 0.6
    assert wide.upper - wide.lower > 3 * (narrow.upper - narrow.lower)
    assert wide == reward_measures.bootstrap(lambda i: float(right[i].mean()), prompts, seed=0)


def test_a_few_prompts_that_are_all_right_prove_nothing():
    three = reward_measures.bootstrap(lambda i: 1.0, np.array([1, 1, 2, 2, 3, 3]), seed=0)
    many = reward_measures.bootstrap(lambda i: 1.0, np.arange(20), seed=0)
    correlation = reward_measures.bootstrap(lambda i: 1.0, np.array([1, 1, 2, 2, 3, 3]), seed=0, floor=-1.0)
    assert (three.lower, three.upper) == (pytest.approx(3 / (3 + 1.96**2)), pytest.approx(1))
    assert many.lower > 0.8 and correlation.lower == pytest.approx(2 * three.lower - 1)


# The recipe


def judged_data(prompts: int = 40, seed: int = 0) -> dict[str, list]:
    """Answers of As or of zs with some of both; judges like As. Votes, thumbs and stars, one in ten wrong."""
    rng = random.Random(seed)
    completions, comparisons, ratings = [], [], []
    for prompt in range(prompts):
        ids = []
        for _ in range(4):
            share = rng.choice([0.1, 0.9])
            text = "".join("A" if rng.random() < share else "z" for _ in range(rng.randint(6, 14)))
            ids.append(len(completions))
            messages = [{"role": "user", "content": f"Prompt {prompt}"}]
            completions.append({"id": len(completions), "prompt_id": prompt, "prompt": messages, "text": text})
        liked = {i: completions[i]["text"].count("A") > len(completions[i]["text"]) / 2 for i in ids}
        for a, b in ((ids[0], ids[1]), (ids[2], ids[3]), (ids[0], ids[3])):
            winner = "tie" if liked[a] == liked[b] else "model_a" if liked[a] != (rng.random() < 0.1) else "model_b"
            row = {"prompt_id": prompt, "completion_a": a, "completion_b": b, "winner": winner}
            comparisons.append(row | {"strength": None, "author": 1})
        for i in ids:
            good = liked[i] != (rng.random() < 0.1)
            ratings.append({"completion": i, "thumbs": good, "stars": 4 if good else 2, "author": 2})
    return {"completions": completions, "comparisons": comparisons, "ratings": ratings}


def make_run(folder: Path, parent: Path, data: dict[str, list] | None = None, **config) -> RunDirectory:
    run = RunDirectory(folder)
    spec = RunSpec("reward", {"held_out": 0.25, "batch_size": 16, **config}, seed=3, parent=str(parent))
    run.create(spec, data or judged_data())
    return run


@pytest.fixture(scope="module")
def done(parent, tmp_path_factory) -> RunDirectory:
    run = make_run(tmp_path_factory.mktemp("runs") / "head", parent, method="head")
    with pytest.MonkeyPatch.context() as patch:
        try_few(patch)
        draw_few(patch, resamples=200)
        assert entry.attempt(reward.main, run) == 0, run.failure()
    return run


def test_a_head_learns_what_the_judges_like(done):
    figures = done.result()["held_out"]
    assert figures["pair_accuracy"]["value"] > 0.75
    assert figures["thumbs_auc"]["lower"] > 0.6
    assert figures["stars_spearman"]["value"] > 0.5
    assert done.result()["beats_chance"]
    assert done.result()["longer"]["thumbs_auc"]["value"] < figures["thumbs_auc"]["value"]
    assert "held-out prompts" in done.result()["verdict"]


def test_what_it_showed_on_held_out_prompts_lies_beside_the_weights(done):
    """A recipe that trains against it knows no database."""
    evidence, result = reward_trust.of_folder(done.model), done.result()
    assert evidence.beats_chance is True
    assert evidence.figures == {name: row for name, row in result["held_out"].items() if row is not None}
    assert RewardModel.load(done.model).held_out["beats_chance"] is True


def test_the_result_tells_what_each_part_is_worth(done):
    result = done.result()
    assert [row["name"] for row in result["ablation"]] == ["pairs", "ratings", "all"]
    parts = {row["name"]: row for row in result["ablation"]}
    assert parts["pairs"]["judgements"] + parts["ratings"]["judgements"] == parts["all"]["judgements"]
    assert parts["all"]["thumbs_auc"] == result["held_out"]["thumbs_auc"]
    lost = parts["pairs"]["lost"]["thumbs_auc"]
    assert lost["value"] == pytest.approx(parts["all"]["thumbs_auc"]["value"] - parts["pairs"]["thumbs_auc"]["value"])
    assert lost["lower"] <= lost["value"] <= lost["upper"]
    counts = [row["judgements"] for row in result["curve"]]
    assert counts == sorted(counts) and counts[-1] == parts["all"]["judgements"]
    assert result["curve"][-1]["pair_accuracy"] == result["held_out"]["pair_accuracy"]
    assert sum(row["is_best"] for row in result["candidates"]) == 1
    assert result["held_out"]["slope"]["lower"] > 0


@pytest.mark.usefixtures("few_resamples")
@pytest.mark.parametrize(
    ("chosen", "poolings"),
    [
        pytest.param("mean", {"mean"}, marks=pytest.mark.thorough),
        ("last", {"last"}),
        pytest.param("both", {"mean", "last"}, marks=pytest.mark.thorough),
    ],
)
def test_features_that_were_chosen_are_read_and_no_others_tried(parent, tmp_path, chosen, poolings):
    run = make_run(tmp_path / chosen, parent, judged_data(prompts=24), method="head", features=chosen, curve=False)
    assert entry.attempt(reward.main, run) == 0, run.failure()
    layers = json.loads((parent / "config.json").read_text())["num_hidden_layers"]
    [expected] = reward_forwards.feature_sets(layers, chosen)
    saved, candidates = RewardModel.load(run.model), run.result()["candidates"]
    assert saved.features == expected and {pooling for _, pooling in expected} == poolings
    assert [row["features"] for row in candidates] == [[list(feature) for feature in expected]]
    assert candidates[0]["is_best"] and run.result()["features"] == candidates[0]["features"]


def test_the_result_tells_of_judges_without_saying_who_they_are(done):
    rows = done.result()["judges"]["rows"]
    assert [(row["comparisons"] > 0, row["thumbs"] > 0) for row in rows] == [(True, False), (False, True)]
    assert "author" not in json.dumps(rows)
    assert json.loads((done.path / "judges.json").read_text()) == [1, 2]


@pytest.mark.thorough
@pytest.mark.usefixtures("few_resamples")
def test_aspects_get_heads_of_their_own_where_enough_was_said(parent, tmp_path):
    data, rng = judged_data(), random.Random(5)
    for row in data["ratings"]:
        text = data["completions"][row["completion"]]["text"]
        row["aspects"] = {"noise": rng.randint(1, 5), "of A": 5 if text.count("A") * 2 > len(text) else 2}
    data["ratings"][0]["aspects"]["rare"] = 3
    run = make_run(tmp_path / "aspects", parent, data, method="head", features="last", curve=False)
    assert entry.attempt(reward.main, run) == 0, run.failure()
    aspects = run.result()["aspects"]
    assert aspects["of A"]["spearman"]["lower"] > 0.3
    assert "chance" in aspects["noise"]["lack"] and "too few" in aspects["rare"]["lack"]
    model = RewardModel.load(run.model)
    assert model.aspects == ("of A",)
    found = model.score_aspects([HELLO, HELLO], ["AAAAAAAAA", "zzzzzzzzz"])["of A"]
    assert found[0] > found[1] + 0.5
    assert not json.loads((run.model / "reward.json").read_text())["trunk_folder"].startswith("/")


def test_an_aspect_out_of_range_names_itself(parent, tmp_path):
    data = judged_data()
    data["ratings"][0]["aspects"] = {"helpful": 9}
    run = make_run(tmp_path / "range", parent, data)
    assert entry.attempt(reward.main, run) == 1
    assert "'helpful' must be 1 to 5" in run.failure()["message"]


def test_the_saved_model_scores_texts_it_was_not_shown(done):
    model = RewardModel.load(done.model)
    scores = model.score([HELLO, HELLO], ["AAAAAAAAA", "zzzzzzzzz"])
    assert model.method == "head"
    assert scores[0] > scores[1] + model.score_std / 2


def test_riding_on_another_forward_gives_the_same_score(done):
    """As in PPO: one sequence padded on the left, its EOS and padding behind, hidden states from the whole model."""
    model = RewardModel.load(done.model)
    trunk, tokenizer = model.trunk()
    prompt = loading.encode_prompt(tokenizer, HELLO, model.max_prompt_tokens)
    text = "AAzAAA"
    completion = loading.encode_completion(tokenizer, text, 100)
    pad, eos = tokenizer.pad_token_id, tokenizer.eos_token_id
    ids = torch.tensor([[pad, pad, *prompt, *completion, eos, pad]])
    attended = (ids != pad).long()
    mask = torch.zeros_like(ids, dtype=torch.bool)
    mask[0, 2 + len(prompt) : 2 + len(prompt) + len(completion)] = True
    positions = (attended.cumsum(1) - 1).clamp(0)
    states = trunk(ids, attention_mask=attended, position_ids=positions, output_hidden_states=True).hidden_states
    ridden = model.score_from_hidden({layer: states[layer] for layer in model.layers}, mask)
    alone = model.score([HELLO], [text])
    through = model.score_tokens(ids, attended, mask)
    assert ridden.item() == pytest.approx(alone.item(), abs=0.1 * model.score_std)
    assert through.item() == pytest.approx(ridden.item(), abs=0.1 * model.score_std)


def test_an_empty_answer_gets_the_lowest_score(done):
    model = RewardModel.load(done.model)
    empty, full = model.score([HELLO, HELLO], ["", "A" * 10]).tolist()
    assert empty == pytest.approx(model.empty_score)
    assert empty < full


def test_a_head_refuses_another_trunk_than_the_one_it_was_fitted_on(done, tmp_path):
    other = tiny_model.make(tmp_path / "other", seed=1)
    facts = json.loads((done.model / "reward.json").read_text())
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "reward.json").write_text(json.dumps(facts | {"trunk_folder": str(other)}))
    (tmp_path / "model" / "head.safetensors").write_bytes((done.model / "head.safetensors").read_bytes())
    with pytest.raises(RecipeFailure) as caught:
        RewardModel.load(tmp_path / "model").score([HELLO], ["x"])
    assert caught.value.code == "trunk_changed"


@pytest.mark.thorough
@pytest.mark.usefixtures("few_resamples")
def test_a_resumed_run_reads_on_after_its_last_checkpoint(parent, tmp_path, monkeypatch):
    """That it ends in the same bits is what test_every_kind_killed shows."""
    run = make_run(tmp_path / "cut", parent, method="head", features="last", curve=False)
    monkeypatch.setattr(reward_forwards, "CHECKPOINT_EVERY", 2)
    honest, forwarded = reward_forwards.pooled_batch, []

    def dies_at_the_sixth(*given):
        if len(forwarded) == 5:
            raise KeyboardInterrupt  # as abrupt as a signal: no failure.json
        forwarded.append(given)
        return honest(*given)

    monkeypatch.setattr(reward_forwards, "pooled_batch", dies_at_the_sixth)
    with pytest.raises(KeyboardInterrupt):
        entry.attempt(reward.main, run)
    monkeypatch.setattr(reward_forwards, "pooled_batch", lambda *given: forwarded.append(given) or honest(*given))
    assert entry.attempt(reward.main, run) == 0
    assert len(forwarded) == 5 + 10 - 4  # 10 batches, of which the first 4 were in a checkpoint
    parts = sorted(path.name for path in run.path.glob("checkpoints/*/pooled-*"))
    assert parts == [f"pooled-{end:06d}.safetensors" for end in (2, 4, 6, 8, 10)]
    steps = [json.loads(line)["step"] for line in (run.path / "metrics.jsonl").open()]
    assert steps == list(range(1, len(steps) + 1))


FINETUNED = {"method": "finetune", "features": "last", "curve": False, "lora_rank": 4}


@pytest.mark.thorough
@pytest.mark.usefixtures("few_resamples")
@pytest.mark.parametrize("adapters", ["lora", "full"])
def test_a_finetuned_trunk_is_saved_as_it_was_trained_and_measured_as_it_was_saved(
    parent, tmp_path, monkeypatch, adapters
):
    """At a rate at which a merge into bfloat16 loses most of the update."""
    monkeypatch.setenv("ASSAY_DTYPE", "bfloat16")
    measured, pooling = [], []
    honest, pool = reward_finetune.children.save_child, reward_forwards.pooled_batch

    def watched(*given):
        saved = honest(*given)
        measured.append(saved.model)
        pooling.clear()  # what comes now is what the figures are of
        return saved

    def pooled(trunk, *given):
        pooling.append(trunk)
        return pool(trunk, *given)

    monkeypatch.setattr(reward_finetune.children, "save_child", watched)
    monkeypatch.setattr(reward_forwards, "pooled_batch", pooled)
    config = {**FINETUNED, "learning_rate": 2e-5, "adapters": adapters, "epochs": 0.5}
    run = make_run(tmp_path / "small", parent, judged_data(prompts=26), **config)
    assert entry.attempt(reward.main, run) == 0, run.failure()
    fidelity = run.result()["fidelity"]
    assert fidelity["cosine"] >= 0.999
    assert fidelity["kl_per_token"] < 1e-3
    assert pooling and all(model is measured[0] for model in pooling), "measured on what was not saved"
    model = RewardModel.load(run.model)
    assert model.method == "finetune" and model.trunk_hash != loading.weights_hash(parent)
    scores = model.score([HELLO, HELLO], ["AAAAAAAAA", "zzzzzzzzz"])
    assert scores[0] > scores[1]
    saved, _ = model.trunk()
    assert all(torch.equal(w, measured[0].state_dict()[name]) for name, w in saved.state_dict().items())
    assert is_adapter(run.model / "trunk") == (adapters == "lora")
    assert not list(run.path.glob(".*partial"))


@pytest.mark.thorough
@pytest.mark.usefixtures("few_resamples")
def test_auto_tries_finetuning_when_annotations_are_many(parent, tmp_path):
    config = {"finetune_from": 100, "epochs": 0.5, "adapters": "full", "features": "last", "curve": False}
    run = make_run(tmp_path / "auto", parent, judged_data(prompts=26), **config)
    assert entry.attempt(reward.main, run) == 0, run.failure()
    result = run.result()
    assert set(result["methods"]) == {"head", "finetune"}
    assert "held-out" in result["why"]


@pytest.mark.parametrize(("tuned", "kept"), [(0.70, "head"), (0.74, "head"), (0.80, "finetune")])
def test_finetuning_must_win_by_more_than_a_standard_error(tuned, kept):
    head = fitted_with("head", value=0.72)  # its interval of 0.2 makes a standard error of 0.051
    winner, why = reward_report.choose([head, fitted_with("finetune", value=tuned)], RewardConfig(), 3000)
    assert winner.model.method == kept
    assert "0.720 with the head" in why


def fitted_with(method: str, value: float) -> reward_report.Fitted:
    figures = {"pair_accuracy": Estimate(value, value - 0.1, value + 0.1, 80, 25), "thumbs_auc": None}
    return reward_report.Fitted(SimpleNamespace(method=method), None, None, figures, None, {}, 0.0)


def test_too_few_telling_annotations_are_refused_in_words(parent, tmp_path):
    data = judged_data()
    for row in data["comparisons"]:
        row["winner"] = "tie"
    data["ratings"] = [{"completion": 0, "thumbs": True, "stars": None, "author": 2}]
    run = make_run(tmp_path / "few", parent, data)
    assert entry.attempt(reward.main, run) == 1
    failure = run.failure()
    assert failure["code"] == "too_few_judgements"
    assert "0 of 121 annotations separate one answer from another" in failure["message"]
    assert failure["remedy"]


def test_annotations_that_follow_nothing_are_refused_in_words(parent, tmp_path):
    data, rng = judged_data(), random.Random(1)
    for row in data["comparisons"]:
        row["winner"] = rng.choice(["model_a", "model_b"])
    for row in data["ratings"]:
        row["thumbs"], row["stars"] = rng.random() < 0.5, rng.choice([2, 4])
    run = make_run(tmp_path / "noise", parent, data, features="last", curve=False)
    assert entry.attempt(reward.main, run) == 1
    assert run.failure()["code"] == "nothing_learnt"
    assert "not better than chance" in run.failure()["message"]


def test_an_annotation_of_a_completion_that_is_not_there_is_refused(parent, tmp_path):
    data = judged_data()
    data["comparisons"][0]["completion_a"] = 10**6
    run = make_run(tmp_path / "missing", parent, data)
    assert entry.attempt(reward.main, run) == 1
    assert run.failure()["code"] == "bad_data"


def test_an_unknown_winner_names_itself(parent, tmp_path):
    data = judged_data()
    data["comparisons"][0]["winner"] = "model_c"
    run = make_run(tmp_path / "unknown", parent, data)
    assert entry.attempt(reward.main, run) == 1
    assert "model_c" in run.failure()["message"]
