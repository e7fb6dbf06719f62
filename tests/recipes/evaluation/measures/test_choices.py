"""Choices against lm-evaluation-harness run directly on the same items, against a direct sum, and what is refused."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from django.conf import settings

from tests.support import tiny_model
from tests.support.evaluation.recipe_runs import ended, items_of, laid

STEMS = ("The cat", "A dog", "The old clock", "My neighbour", "Every bird", "The red car")
ENDS = ("sleeps on the mat.", "barks.", "has stopped", "is late again", "sings at dawn", "needs a wash, she said.")


@pytest.fixture(autouse=True)
def _exact(monkeypatch):
    monkeypatch.setenv("ASSAY_DTYPE", "float32")


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    return tiny_model.make(tmp_path_factory.mktemp("tiny") / "model", seed=3)


@pytest.fixture(scope="module")
def loaded(model_folder):
    import torch

    from training.recipes.common import loading

    return loading.load_policy(model_folder, torch.float32)


def endings() -> list[dict]:
    return [
        {
            "id": f"e{n}",
            "context": stem,
            "choices": [ENDS[(n + k) % 6] for k in range(3)],
            "answer": n % 3,
            "group": "a",
        }
        for n, stem in enumerate(STEMS * 2)
        if n < 9
    ]


def blanks() -> list[dict]:
    rows = [("Ann asked Bo because _ knew the way.", "2"), ("Ann told Bo that _ had to wait.", "1")]
    return [{"sentence": s, "option1": "Ann", "option2": "Bo", "answer": a, "group": "b"} for s, a in rows]


def pairs() -> list[dict]:
    return [
        {"sentence_good": f"{stem} {ENDS[n]}", "sentence_bad": f"{stem} {ENDS[n - 1]}", "UID": "c", "pairID": str(n)}
        for n, stem in enumerate(STEMS)
    ]


def run_on(path, model_folder, *, other=(), **config):
    run = laid(path, model_folder, {"measure": "choices", **config}, other=other)
    return run, ended(run)


def harness(loaded, config: dict, docs: list[dict], num_fewshot: int = 0) -> dict:
    """lm-evaluation-harness, with its own model class and loop, on a task of its own words: results and samples."""
    import datasets
    import lm_eval
    from lm_eval.api.task import ConfigurableTask
    from lm_eval.models.huggingface import HFLM

    rows = datasets.Dataset.from_list(docs)
    metrics = [{"metric": m, "aggregation": "mean", "higher_is_better": True} for m in ("acc", "acc_norm", "acc_bytes")]
    task = ConfigurableTask(
        config={
            "task": "theirs", "custom_dataset": lambda **_: {"test": rows}, "test_split": "test",
            "fewshot_split": "test", "output_type": "multiple_choice", "metric_list": metrics,
            "num_fewshot": num_fewshot, **config,
        }
    )  # fmt: skip
    task.set_fewshot_seed(seed=1234)
    model = HFLM(pretrained=loaded[0], tokenizer=loaded[1], max_length=1024, batch_size=4)
    told = lm_eval.evaluate(model, {"tasks": {"theirs": task}}, bootstrap_iters=0)
    return {**told["results"]["theirs"], "samples": told["samples"]["theirs"]}


def likelihoods(samples: list[dict]) -> list[list[float]]:
    return [[value for value, _ in sample["filtered_resps"]] for sample in samples]


def agree(run, result, theirs) -> None:
    ours = [item["shown"]["log-probabilities"] for item in items_of(run)]
    assert ours == [pytest.approx(values, abs=1e-3) for values in likelihoods(theirs["samples"])]
    for name, metric in (
        ("accuracy", "acc"),
        ("accuracy per character", "acc_norm"),
        ("accuracy per byte", "acc_bytes"),
    ):
        assert result["metrics"][name]["value"] == theirs[f"{metric},none"], name


ENDINGS = {"doc_to_text": "{{context}}", "doc_to_choice": "choices", "doc_to_target": "answer"}


@pytest.mark.parametrize("shots", [0, 2])
def test_endings_count_as_the_harness_counts_them(model_folder, loaded, tmp_path, shots):
    run, result = run_on(tmp_path / "run", model_folder, other=endings(), num_fewshot=shots)
    agree(run, result, harness(loaded, ENDINGS, endings(), shots))
    assert f"{shots}-shot" in result["signature"] and "lm-eval 0.4" in result["signature"]


def test_minimal_pairs_count_as_in_its_blimp(model_folder, loaded, tmp_path):
    blimp = {"doc_to_text": "", "doc_to_target": 0, "doc_to_choice": "{{[sentence_good, sentence_bad]}}"}
    run, result = run_on(tmp_path / "run", model_folder, other=pairs())
    agree(run, result, harness(loaded, blimp, pairs()))


def test_blanks_are_scored_as_in_its_winogrande(model_folder, loaded, tmp_path):
    from lm_eval.tasks.winogrande import preprocess_winogrande as theirs

    functions = {name: getattr(theirs, name) for name in ("doc_to_text", "doc_to_target", "doc_to_choice")}
    run, result = run_on(tmp_path / "run", model_folder, other=blanks())
    told = harness(loaded, functions, blanks())
    ours = [item["shown"]["log-probabilities"] for item in items_of(run)]
    assert ours == [pytest.approx(values, abs=1e-3) for values in likelihoods(told["samples"])]
    assert result["metrics"]["accuracy"]["value"] == told["acc,none"]
    assert result["metrics"]["accuracy per byte"]["value"] == told["acc,none"]  # what follows has one length
    assert any("scored by the text after" in note for note in result["notes"])


def test_all_forms_go_in_one_file_with_figures_by_group(model_folder, tmp_path):
    rows = [*endings(), *blanks(), *pairs()]
    run, result = run_on(tmp_path / "run", model_folder, other=rows)
    items = items_of(run)
    assert [item["group"] for item in items] == ["a"] * 9 + ["b"] * 2 + ["c"] * 6  # in the order of the file
    for group in "abc":
        alone, figures = run_on(
            tmp_path / group, model_folder, other=[r for r in rows if group in (r.get("group"), r.get("UID"))]
        )
        assert figures["metrics"]["accuracy"]["value"] == result["groups"][group]["accuracy"]["value"]
        assert len(items_of(alone)) == result["groups"][group]["accuracy"]["n"]


def test_each_candidate_has_the_sum_of_its_tokens(model_folder, loaded, tmp_path):
    import torch

    run, _ = run_on(tmp_path / "run", model_folder, other=endings()[:2])
    model, tokenizer = loaded
    for row, item in zip(endings(), items_of(run), strict=False):
        context = tokenizer(row["context"])["input_ids"]
        for choice, value in zip(row["choices"], item["shown"]["log-probabilities"], strict=True):
            ids = torch.tensor([context + tokenizer(f" {choice}")["input_ids"]])
            logs = model(ids).logits[0, :-1].log_softmax(-1).gather(1, ids[0, 1:, None])
            assert value == pytest.approx(logs[len(context) - 1 :].sum().item(), abs=1e-3)


def test_small_batches_and_neighbours_that_begin_alike_change_nothing(model_folder, tmp_path):
    rows = [*endings(), *pairs()]
    one, _ = run_on(tmp_path / "one", model_folder, other=rows)
    other, _ = run_on(tmp_path / "other", model_folder, other=rows, batch_size=1, max_length=64)
    for a, b in zip(items_of(one), items_of(other), strict=True):
        assert a["shown"]["log-probabilities"] == pytest.approx(b["shown"]["log-probabilities"], abs=1e-3)


def test_equal_candidates_share_the_point():
    from evaluation.recipes.choices import counted, point

    assert point(np.array([-1.0, -1.0, -2.0]), {0}) == 0.5
    assert point(np.array([-1.0, -1.0, -2.0]), {2}) == 0.0
    assert point(np.array([-1.0, -1.5, -2.0]), {0, 1}) == 1.0
    counts = counted([-4.0, -5.0], ("ab", "日本"), {1}, partial=False)
    assert counts == {"accuracy": [0.0, 1.0], "accuracy per character": [0.0, 1.0], "accuracy per byte": [1.0, 1.0]}


def test_the_suite_that_ships_is_the_default(model_folder, tmp_path):
    _, result = run_on(tmp_path / "run", model_folder)
    assert result["n"] == 198 and len(result["groups"]) == 6 and "suite assay 1" in result["signature"]
    assert result["notes"][0] == "Guessing is right in 41.7 %."


def test_killed_in_mid_work_it_goes_on_with_the_next_batch(model_folder, tmp_path, monkeypatch):
    from evaluation.recipes.common import likelihood
    from training.recipes.common import entry

    rows = [*endings(), *pairs()]
    whole, result = run_on(tmp_path / "whole", model_folder, other=rows, batch_size=1, max_length=64)
    cut = laid(tmp_path / "cut", model_folder, {"measure": "choices", "batch_size": 1, "max_length": 64}, other=rows)
    original, asked = likelihood._batch, []

    def dying(model, batch, way):
        asked.append(batch)
        if len(asked) == 7:  # the first few only try the model out
            raise KeyboardInterrupt
        return original(model, batch, way)

    monkeypatch.setattr(likelihood, "_batch", dying)
    with pytest.raises(KeyboardInterrupt):
        from evaluation.recipes import evaluate

        entry.attempt(evaluate.main, cut)
    kept = next(cut.path.glob("likelihoods-*.jsonl"))
    done = len(kept.read_text().splitlines())
    assert done > 0
    with kept.open("a") as file:
        file.write('{"scored": [[1, -3')  # torn
    asked.clear()

    def counting(*parts):
        asked.append(parts)
        return original(*parts)

    monkeypatch.setattr(likelihood, "_batch", counting)
    assert ended(cut) == result
    assert (cut.path / "items.jsonl").read_text() == (whole.path / "items.jsonl").read_text()
    steps = [json.loads(line)["step"] for line in (cut.path / "metrics.jsonl").open()]
    assert steps == list(range(1, len(steps) + 1)) and len(asked) < len(steps) + 2  # tried out by two, none read twice


def test_its_progress_is_told(model_folder, tmp_path, monkeypatch):
    from training.core.run_directory import RunDirectory

    said = []
    monkeypatch.setattr(
        RunDirectory, "progress", lambda self, phase, step, total, **_: said.append((phase, step, total))
    )
    run_on(tmp_path / "run", model_folder, other=pairs(), batch_size=1, max_length=64)
    weighed = [(step, total) for phase, step, total in said if phase == "weighing candidates"]
    assert len(weighed) > 2 and weighed[-1][0] == weighed[-1][1] and weighed[0][0] == 0


@pytest.mark.parametrize(
    ("rows", "config", "code", "words"),
    [
        ([{"context": "a", "choices": ["b", "c"]}], {}, "bad_item", "Line 1 of items.jsonl has no answer"),
        ([{"context": "a", "choices": ["b", "b"], "answer": 0}], {}, "bad_item", "two equal candidates"),
        ([{"context": "a", "choices": ["b", ""], "answer": 0}], {}, "bad_item", "an empty candidate"),
        (
            [*endings(), {"context": "long " * 60, "choices": ["b", "c"], "answer": 0}],
            {"max_length": 128}, "too_long", "Line 10 of items.jsonl needs up to 301 tokens",
        ),
        (endings()[:3], {"num_fewshot": 3}, "too_few_examples", "3 items of one kind"),
        ([], {"suite": "hellaswog"}, "unknown_task", "hellaswag"),
        ([], {"suite": "gsm8k"}, "no_hub", "gsm8k"),
        ([], {"suite": "hellaswag,piqa"}, "no_hub", "could not be fetched"),
    ],
)  # fmt: skip
def test_it_refuses_in_words(model_folder, tmp_path, monkeypatch, rows, config, code, words):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    _, failure = run_on(tmp_path / "run", model_folder, other=rows, **config)
    assert failure["code"] == code and words in failure["message"] and failure["remedy"], failure


def test_a_task_by_name_is_counted_by_the_harness_s_own_words(model_folder, loaded, tmp_path, monkeypatch):
    """PIQA and winogrande as the harness has them, with a hub that holds a few items."""
    import datasets

    goals = [{"goal": f"{s} what?", "sol1": ENDS[n], "sol2": ENDS[n - 1], "label": n % 2} for n, s in enumerate(STEMS)]
    held = {"baber/piqa": goals, "allenai/winogrande": blanks()}

    def hub(path, name=None, **_):
        rows = datasets.Dataset.from_list(held[path])
        return datasets.DatasetDict({split: rows for split in ("train", "validation", "test")})

    monkeypatch.setattr(datasets, "load_dataset", hub)
    _, result = run_on(tmp_path / "run", model_folder, suite="piqa, winogrande")
    piqa = {"doc_to_text": "Question: {{goal}}\nAnswer:", "doc_to_target": "label", "doc_to_choice": "{{[sol1, sol2]}}"}
    theirs = harness(loaded, piqa, goals)
    assert result["n"] == 8 and set(result["groups"]) == {"piqa", "winogrande"}
    assert result["groups"]["piqa"]["accuracy"]["value"] == theirs["acc,none"]
    assert result["groups"]["piqa"]["accuracy per character"]["value"] == theirs["acc_norm,none"]
    own, figures = run_on(tmp_path / "own", model_folder, other=blanks())
    assert result["groups"]["winogrande"]["accuracy"]["value"] == figures["metrics"]["accuracy"]["value"]
    assert [i["counts"] for i in items_of(own)] == [
        i["counts"] for i in items_of(laid_at(tmp_path / "run")) if i["group"] == "winogrande"
    ]


@pytest.mark.parametrize("gold", [-1, 7, "sings", [-1, 9]])
def test_a_right_answer_that_is_no_candidate_is_never_found(gold):
    """Hidden labels of a test split are −1: the last candidate is not meant."""
    from types import SimpleNamespace

    from evaluation.recipes.choices import of_task

    task = SimpleNamespace(
        doc_to_choice=lambda doc: ["melts", "burns"], doc_to_target=lambda doc: gold, multiple_input=0
    )
    row = {"doc": {}, "doc_id": 0, "filtered_resps": [(-3.0, False), (-2.0, True)], "arguments": [("Ice", " melts")]}
    item = of_task("ice", task, row)
    assert item.counts["accuracy"] == [0, 1]
    assert item.shown["right"] == ""


@pytest.mark.filterwarnings("ignore::UserWarning")  # samples with one label alone
def test_a_task_tells_its_other_figures_too(tmp_path, monkeypatch):
    """CoLA's Matthews' correlation and MRPC's F1, as scikit-learn gives them of the same answers."""
    import datasets
    from sklearn.metrics import f1_score, matthews_corrcoef

    from evaluation.recipes import harness_engine as choice_engine

    cola = [{"sentence": f"{s} {ENDS[n]}", "label": n % 2, "idx": n} for n, s in enumerate(STEMS)]
    mrpc = [{"sentence1": s, "sentence2": ENDS[n], "label": (n + 1) % 2, "idx": n} for n, s in enumerate(STEMS)]
    held = {"cola": cola, "mrpc": mrpc}

    def hub(path, name=None, **_):
        rows = datasets.Dataset.from_list(held[name])
        return datasets.DatasetDict({split: rows for split in ("train", "validation", "test")})

    monkeypatch.setattr(datasets, "load_dataset", hub)
    monkeypatch.setattr(choice_engine, "DRAWS", 100)
    says_yes = tiny_model.make(tmp_path / "model", seed=5)
    run, result = run_on(tmp_path / "run", says_yes, suite="cola,mrpc")
    said: dict[str, list[tuple[int, int]]] = {"cola": [], "mrpc": []}
    for item in items_of(run):
        shown = item["shown"]
        places = [shown["candidates"].index(shown[key]) for key in ("right", "answer")]
        said[item["group"]].append((places[0], places[1]))
    gold, found = zip(*said["cola"], strict=True)
    assert result["metrics"]["mcc of cola"]["value"] == pytest.approx(matthews_corrcoef(gold, found))
    gold, found = zip(*said["mrpc"], strict=True)
    assert result["metrics"]["f1 of mrpc"]["value"] == pytest.approx(f1_score(gold, found))
    assert result["metrics"]["f1 of mrpc"]["n"] == 6 and result["metrics"]["f1 of mrpc"]["standard_error"] > 0


def laid_at(path):
    from training.core.run_directory import RunDirectory

    return RunDirectory(path)


MODEL = Path(settings.BASE_DIR) / "data" / "models" / "smollm2-135m-instruct"
DATA = Path(os.environ.get("SHARED_DATA", "../shared/data"))


@pytest.mark.slow
@pytest.mark.skipif(not MODEL.is_dir(), reason=f"{MODEL} is not here; the README says where the model comes from")
@pytest.mark.skipif(not DATA.is_dir(), reason=f"{DATA} is not here; SHARED_DATA names its folder")
def test_a_real_model_on_blimp_is_what_the_harness_says_by_itself(tmp_path):
    """The first pairs of three files, candidate by candidate; golden values by golden/from_lm_eval.py."""
    golden = json.loads((Path(__file__).parents[4] / "tests/support/golden" / "choices_blimp.json").read_text())
    rows = [
        json.loads(line)
        for name in golden["files"]
        for line in (DATA / name).read_text().splitlines()[: golden["pairs"]]
    ]
    run, result = run_on(tmp_path / "run", MODEL, other=rows, limit=len(rows))
    values = [item["shown"]["log-probabilities"] for item in items_of(run)]
    theirs = [pair for part in golden["files"].values() for pair in part["first"]]
    assert values == [pytest.approx(pair, abs=2e-3) for pair in theirs]
    assert result["metrics"]["accuracy"]["value"] == sum(good > bad for good, bad in theirs) / len(theirs)
