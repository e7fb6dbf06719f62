"""The model server gives the trained model: of adapters by their folder, and of merged children of earlier versions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from annotate.language_models import model_server, serving
from annotate.models import LanguageModel
from tests.support import tiny_model
from tests.support.factories import make_model
from tests.support.training import adapter_children, model_servers, preference_runs
from training.recipes import dpo
from training.recipes.common import adapters, entry, loading
from training.rl.lora import apply_update

QUESTION = [{"role": "user", "content": "Say something about herons"}]
TOKENS = 24


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    """A base in float32, an adapter child of an adapter child, and a child as earlier versions saved it: merged."""
    folder = tmp_path_factory.mktemp("models")
    base = tiny_model.make(folder / "base")
    adapter_children.child(base, folder / "one", size=0.1)
    adapter_children.child(folder / "one", folder / "child", size=0.1, seed=2)
    model, tokenizer = loading.load_policy(base, torch.float32)
    apply_update(model, adapters.read_adapter(folder / "one"))
    loading.save_policy(model, tokenizer, folder / "merged")  # in bfloat16
    assert not adapters.is_adapter(folder / "merged")
    return {name: folder / name for name in ("base", "child", "merged")}


SERVERS = {"ours": model_servers.OURS, "transformers": model_servers.STOCK}


@pytest.fixture(params=["transformers", pytest.param("ours", marks=pytest.mark.thorough)])
def server(request, settings, unused_tcp_port: int, tmp_path: Path) -> Iterator[None]:
    settings.MODEL_SERVER_URL = f"http://127.0.0.1:{unused_tcp_port}/v1"
    with model_servers.model_server(unused_tcp_port, tmp_path / "serve.log", module=SERVERS[request.param]):
        yield


def greedy(folder: Path) -> str:
    """What the model says by itself."""
    model, tokenizer = loading.load_policy(folder, torch.float32)
    ids = loading.encode_prompt(tokenizer, QUESTION, 1000)
    whole = model.generate(
        torch.tensor([ids]), attention_mask=torch.ones(1, len(ids), dtype=torch.long), max_new_tokens=TOKENS,
        do_sample=False,
    )  # fmt: skip
    return tokenizer.decode(whole[0, len(ids) :], skip_special_tokens=True)


def served(model: LanguageModel, temperature: float = 0.0) -> str:
    return model_server.complete_chat(
        model, QUESTION, max_new_tokens=TOKENS, temperature=temperature, top_p=1.0, seed=1
    ).text


@pytest.mark.slow
@pytest.mark.django_db
def test_the_server_answers_as_the_trained_model_and_not_as_its_base(server, folders):
    models = {name: make_model(name=name, folder=str(folder)) for name, folder in folders.items()}
    child = models["child"]
    assert not model_server.is_in_memory(child) and serving.serving(child).can_load
    expected = {name: greedy(folder) for name, folder in folders.items()}
    assert len(set(expected.values())) == 3
    assert served(child) == expected["child"]
    assert served(models["base"]) == expected["base"]
    assert served(models["merged"])  # in bfloat16, whose greedy answer may be another
    assert model_server.is_in_memory(child) and serving.serving(child).state == "loaded"
    assert served(child, temperature=1.0) != expected["child"], "a temperature is heeded"


@pytest.mark.thorough
def test_a_merged_child_of_an_earlier_version_goes_on_as_a_parent(folders, tmp_path, one_thread):
    config = {"epochs": 1.0, "batch_size": 8, "learning_rate": 1e-3, "sample_every": 100, "sample_tokens": 8}
    run = preference_runs.make(tmp_path / "run", "dpo", folders["merged"], **config)
    assert entry.attempt(dpo.main, run) == 0, run.failure()
    assert adapters.base_folder(run.model) == folders["merged"].resolve()
    assert preference_runs.metrics(run)[0]["values"]["chosen_reward"] == pytest.approx(0, abs=1e-6)
    assert run.result()["fidelity"]["cosine"] >= 0.999 and run.result()["fidelity"]["rank"] == 8
