"""Abnormal texts: a model that knows a domain is surprised by what does not belong there."""

from __future__ import annotations

import json
import math
import random
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from annotate.models import LanguageModel
from evaluation.models import Evaluation
from evaluation.recipes import surprise
from tests.support import tiny_model
from tests.support.factories import make_model, make_project, make_user
from tests.support.sampling_of_cases import plain_run_tries
from tests.support.training.runs import make_run as queue
from training.configs.surprise import SurpriseConfig
from training.core.kinds import KINDS
from training.core.run_directory import RunDirectory, RunSpec
from training.recipes.common import entry, loading
from training.runs.queue.outputs import gather, record
from training.runs.queue.preparation import prepare

pytestmark = pytest.mark.usefixtures("one_thread")

CONFIG = {"passage_bytes": 120, "passages": 20}


def domain_text(seed: int, lines: int = 200) -> str:
    """Sentences of a small grammar: learnt by a tiny model in a second."""
    draw = random.Random(seed)
    words = (("the king", "the queen", "a fool"), ("sees", "loves"), ("the sea", "a sword", "the night"))
    return "".join(f"{' '.join(draw.choice(some) for some in words)}.\n" for _ in range(lines))


def foreign_text(lines: int = 100) -> str:
    draw = random.Random(9)
    numbers = ([draw.randrange(999) for _ in range(3)] for _ in range(lines))
    return "".join(f"def f{a}(x): return x[{b}] + {c}.\n" for a, b, c in numbers)


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    return tiny_model.make(tmp_path_factory.mktemp("models") / "base")


@pytest.fixture(scope="module")
def tuned(base, tmp_path_factory) -> Path:
    """The base after a few steps on the domain."""
    model, tokenizer = loading.load_policy(base, torch.float32)
    ids = torch.tensor(tokenizer(domain_text(1, 600))["input_ids"])
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    generator = torch.Generator().manual_seed(0)
    model.train()
    for _ in range(60):
        starts = torch.randint(len(ids) - 96, (8,), generator=generator)
        batch = torch.stack([ids[s : s + 96] for s in starts.tolist()])
        optimiser.zero_grad()
        model(input_ids=batch, labels=batch).loss.backward()
        optimiser.step()
    folder = tmp_path_factory.mktemp("models") / "tuned"
    loading.save_policy(model, tokenizer, folder)
    return folder


def make(folder: Path, parent: Path, *, foreign: bool = True, ancestor: Path | str = "", **config) -> RunDirectory:
    run = RunDirectory(folder)
    spec = RunSpec("surprise", CONFIG | config, seed=0, parent=str(parent), ancestor=str(ancestor))
    run.create(spec, {"validation": iter([{"text": domain_text(2), "source": "play"}])})
    if foreign:
        (folder / "data" / "other").mkdir()
        row = json.dumps({"text": foreign_text(), "source": "code"})
        (folder / "data" / "other" / "train-00000.jsonl").write_text(row + "\n")
    return run


@pytest.fixture(scope="module")
def done(tuned, base, tmp_path_factory) -> RunDirectory:
    run = make(tmp_path_factory.mktemp("runs") / "run", tuned, ancestor=base)
    assert entry.attempt(surprise.main, run) == 0, run.failure()
    return run


def group(run: RunDirectory, name: str) -> dict:
    return next(g for g in run.result()["groups"] if g["name"] == name)


def test_foreign_and_spoilt_texts_surprise_more(done):
    for name in ("foreign", "words shuffled", "letters swapped", "a stranger's sentence"):
        assert group(done, name)["scores"]["bits_per_byte"]["auc"]["lower"] > 0.5, name
    foreign = group(done, "foreign")["scores"]["bits_per_byte"]
    assert foreign["auc"]["value"] > 0.99 and foreign["caught"]["value"] > 0.95
    assert group(done, "words shuffled")["scores"]["bits_per_byte"]["above_original"]["value"] > 0.9


def test_a_model_that_knows_nothing_of_the_domain_tells_less(done, base, tmp_path):
    blind = make(tmp_path / "blind", base)
    assert entry.attempt(surprise.main, blind) == 0, blind.failure()

    def area(run):
        return group(run, "words shuffled")["scores"]["bits_per_byte"]["auc"]["value"]

    assert area(done) > area(blind) + 0.2


def test_the_difference_to_the_parent_is_a_second_score(done):
    result = done.result()
    assert result["compared"] and [h["score"] for h in result["histograms"]] == ["bits_per_byte", "difference"]
    assert result["metrics"]["AUC foreign by difference"]["value"] > 0.9
    medians = group(done, "normal")["scores"]["difference"]["quantiles"]
    assert medians[1] < 0  # the domain's own texts surprise it less than they surprised its parent


def test_bits_per_byte_are_what_a_plain_forward_gives(done, tuned):
    model, tokenizer = loading.load_policy(tuned)
    body = json.loads((done.path / "examples.json").read_text())
    text = "".join(body[0][part] for part in ("before", "span", "after"))
    ids = torch.tensor([[tokenizer.eos_token_id, *tokenizer(text)["input_ids"]]])
    with torch.inference_mode():
        logs = model(input_ids=ids).logits[0, :-1].float().log_softmax(dim=-1)
    loss = -logs[torch.arange(ids.shape[1] - 1), ids[0, 1:]].sum().item()
    assert body[0]["bits_per_byte"] == pytest.approx(loss / len(text.encode()) / math.log(2), rel=2e-3)


def test_the_marked_span_lies_where_the_text_was_spoilt(tuned):
    _, tokenizer = loading.load_policy(tuned)
    losses = [0.1] * 40
    losses[20:28] = [5.0] * 8
    text = "abcdefghij" * 4
    assert surprise.span_of(tokenizer, text, losses) == (20, 28)
    assert surprise.span_of(tokenizer, "abc", [1.0, 1.0, 1.0]) == (0, 3)


def test_it_repeats_itself(done, tuned, base, tmp_path):
    again = make(tmp_path / "again", tuned, ancestor=base)
    assert entry.attempt(surprise.main, again) == 0
    one, other = done.result(), again.result()
    assert one.pop("seconds") and other.pop("seconds") and one == other


@pytest.mark.thorough
def test_it_starts_by_hand_in_a_process_that_knows_no_django(base, tmp_path):
    run = make(tmp_path / "run", base, passage_bytes=20000)
    command = [sys.executable, "-m", "evaluation.recipes.surprise", str(run.path)]
    assert subprocess.run(command, capture_output=True).returncode == 1
    assert run.failure()["code"] == "too_few_passages"


def test_killed_in_mid_work_it_goes_on_with_the_next_batch(done, tuned, base, tmp_path, monkeypatch):
    cut = make(tmp_path / "cut", tuned, ancestor=base)
    original, asked = surprise._batch_losses, []

    def dying(model, batch):
        asked.append(len(batch))
        if len(asked) == 4:
            raise KeyboardInterrupt
        return original(model, batch)

    monkeypatch.setattr(surprise, "_batch_losses", dying)
    with pytest.raises(KeyboardInterrupt):
        entry.attempt(surprise.main, cut)
    kept = next(cut.path.glob("losses-*.jsonl"))
    with kept.open("a") as file:
        file.write('{"losses": [[1.0')  # torn
    assert entry.attempt(surprise.main, cut) == 0, cut.failure()
    one, other = done.result(), cut.result()
    assert one.pop("seconds") and other.pop("seconds") and one == other
    steps = [json.loads(line)["step"] for line in (cut.path / "metrics.jsonl").open()]
    assert len(asked) - 1 == len(steps)  # no batch was read twice but the one in which it died


@pytest.mark.parametrize("batches", plain_run_tries(2, of=(2, 6)))
def test_killed_between_a_batch_and_its_figures_none_is_missing_and_none_stands_twice(
    done, tuned, base, tmp_path, monkeypatch, batches
):
    """In either pass: of the model, and of the one that it was made from."""
    cut = make(tmp_path / "cut", tuned, ancestor=base)
    original, logged = type(cut).log_metrics, []

    def dying(run, step, **values):
        original(run, step, **values)
        logged.append(step)
        if len(logged) == batches:
            raise KeyboardInterrupt

    monkeypatch.setattr(type(cut), "log_metrics", dying)
    with pytest.raises(KeyboardInterrupt):
        entry.attempt(surprise.main, cut)
    assert entry.attempt(surprise.main, cut) == 0, cut.failure()
    steps = [json.loads(line)["step"] for line in (cut.path / "metrics.jsonl").open()]
    assert steps == list(range(1, len(steps) + 1))
    assert len(steps) == len((done.path / "metrics.jsonl").read_text().splitlines())


def test_histograms_count_every_passage(done):
    for histogram in done.result()["histograms"]:
        for name, counts in histogram["counts"].items():
            assert sum(counts) == group(done, name)["n"]


@pytest.mark.parametrize(
    ("config", "code"),
    [({"passage_bytes": 20000}, "too_few_passages"), ({"spoil": False}, "nothing_abnormal")],
)
def test_it_refuses_in_words(base, tmp_path, config, code):
    run = make(tmp_path / "run", base, foreign=False, **config)
    assert entry.attempt(surprise.main, run) == 1
    assert run.failure()["code"] == code and run.failure()["remedy"]


# In the database


@pytest.fixture
def recorded(db, done):
    project = make_project()
    parent = make_model(name="domain")
    run = queue(project, kind="surprise", parent=parent, config=SurpriseConfig(**CONFIG).__dict__)
    run.path.parent.mkdir(parents=True, exist_ok=True)
    run.path.symlink_to(done.path)
    record(run, gather(run, RunDirectory(run.path)))
    run.state = "succeeded"
    run.save()
    return run


def test_its_figures_become_evaluations_of_the_model(recorded):
    rows = {e.metric: e for e in Evaluation.objects.filter(run=recorded)}
    assert rows["AUC foreign"].model == recorded.parent and rows["AUC foreign"].value > 0.99
    assert rows["AUC words shuffled by difference"].lower is not None
    assert rows["normal bits per byte"].n == 20 and "passages of 120 bytes" in rows["AUC foreign"].signature


def test_its_page_draws_the_groups_and_shows_texts_to_researchers_alone(client, recorded):
    client.force_login(make_user(recorded.project, role="annotator"))
    html = client.get(f"/runs/{recorded.pk}/").content.decode()
    assert html.count("<svg") >= 2 and "words shuffled" in html and "above its original" in html
    assert "<mark>" not in html
    client.force_login(make_user(recorded.project, role="researcher"))
    assert "<mark>" in client.get(f"/runs/{recorded.pk}/").content.decode()


def test_it_is_told_where_the_parent_came_from(db, settings):
    project = make_project()
    grandparent, parent = make_model(), make_model()
    parent.parent = grandparent
    parent.save()
    for model in (grandparent, parent):
        model.path.mkdir(parents=True)
    run = queue(project, kind="surprise", parent=parent, config=SurpriseConfig().__dict__)
    assert prepare(run).spec().ancestor == str(grandparent.path.resolve())
    other = queue(project, parent=parent)
    assert prepare(other).spec().ancestor == ""
    LanguageModel.objects.filter(pk=grandparent.pk).update(folder="models/gone")
    again = queue(project, kind="surprise", parent=LanguageModel.objects.get(pk=parent.pk), config={})
    assert prepare(again).spec().ancestor == ""
    assert KINDS["surprise"].makes == ""
