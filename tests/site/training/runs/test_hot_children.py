"""Children beside their base in the memory of a real `transformers serve`: loaded, asked, evicted, unloaded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from annotate.language_models import actions, model_server, serving
from annotate.models import AdapterServer, LanguageModel, ServedAdapter
from tests.site.training.runs.test_served_children import QUESTION, greedy
from tests.support import factories, tiny_model
from tests.support.training import adapter_children, model_servers
from tests.support.training.runs import make_run
from training.models import Run
from training.serving import adapter_upkeep

pytestmark = [pytest.mark.slow, pytest.mark.django_db]
State = ServedAdapter.State


@pytest.fixture
def url(settings, unused_tcp_port: int, tmp_path: Path) -> Iterator[str]:
    settings.PRIVATE_ENDPOINTS = ("127.0.0.1",)
    with model_servers.model_server(unused_tcp_port, tmp_path / "serve.log", "--adapters", "3"):
        yield f"http://127.0.0.1:{unused_tcp_port}/v1"


def served(model: LanguageModel) -> str:
    model = LanguageModel.objects.get(pk=model.pk)
    return model_server.complete_chat(model, QUESTION, max_new_tokens=24, temperature=0.0, top_p=1.0).text


def in_memory(url: str) -> set[str]:
    return {Path(entry["id"]).parent.name for entry in httpx.get(f"{url}/models").json()["data"]}


def state_of(model: LanguageModel) -> str:
    return ServedAdapter.objects.get(model=model).state


@pytest.mark.parametrize("is_endpoint", [pytest.param(True, marks=pytest.mark.thorough), False])
def test_children_are_loaded_beside_their_base_and_make_room(url, settings, is_endpoint):
    """The base is an endpoint, or what the site's own server serves."""
    if not is_endpoint:
        settings.MODEL_SERVER_URL = url
    project, data = factories.make_project(), settings.DATA_DIR
    base_path = tiny_model.make(data / "models" / "base")
    base = factories.make_model(
        folder="models/base", endpoint=url if is_endpoint else "", served_name=str(base_path) if is_endpoint else ""
    )
    AdapterServer.objects.create(base=base, limit=2)
    children = []
    for number in range(3):
        folder = f"runs/{number}/model"
        adapter_children.child(base_path, data / folder, size=0.1, seed=number + 1)
        child = factories.make_model(folder=folder, parent=base)
        make_run(project, state=Run.State.SUCCEEDED, parent=base, output_model=child)
        children.append(child)
    expected = [greedy(data / child.folder) for child in children]
    assert len({*expected, greedy(base_path)}) == 4
    adapter_upkeep.enter_missing()
    while adapter_upkeep.load_next():
        pass
    assert sorted(map(state_of, children)) == [State.EVICTED, State.LOADED, State.LOADED]
    assert len(in_memory(url) & {"0", "1", "2"}) == 2
    evicted = next(child for child in children if state_of(child) == State.EVICTED)
    for child, text in zip(children, expected, strict=True):
        if child != evicted:
            assert served(child) == text
    assert served(base) == greedy(base_path), "its adapters leave the base as it was"
    serving.load(LanguageModel.objects.get(pk=evicted.pk))
    adapter_upkeep.load_next()
    assert state_of(evicted) == State.LOADED
    assert served(evicted) == expected[children.index(evicted)]
    actions.retire(model=evicted, reason="worse", by=factories.make_user(is_staff=True))
    adapter_upkeep.unload_retired()
    assert Path(evicted.folder).parent.name not in in_memory(url)


@pytest.mark.thorough
def test_the_server_itself_lets_the_least_used_go(url, settings):
    base = tiny_model.make(settings.DATA_DIR / "models" / "base")
    folders = [settings.DATA_DIR / "runs" / str(number) / "model" for number in range(4)]  # one more than it keeps
    for folder in folders:
        adapter_children.child(base, folder, size=0.1, seed=1)
        loaded = httpx.post(
            f"{url}/load_lora_adapter", json={"lora_name": str(folder), "lora_path": str(folder)}, timeout=60
        )
        assert loaded.status_code == 200, loaded.text
    assert in_memory(url) & {"0", "1", "2", "3"} == {"1", "2", "3"}


@pytest.mark.thorough
def test_what_is_no_adapter_is_refused_in_words(url, tmp_path):
    answer = httpx.post(f"{url}/load_lora_adapter", json={"lora_name": str(tmp_path), "lora_path": str(tmp_path)})
    assert answer.status_code == 404 and "No adapter found" in answer.text
    answer = httpx.post(f"{url}/load_lora_adapter", json={"lora_name": "a", "lora_path": "b"})
    assert answer.status_code == 400
    (tmp_path / "adapter_config.json").write_text('{"peft_type": "IA3"}')
    answer = httpx.post(f"{url}/load_lora_adapter", json={"lora_name": str(tmp_path), "lora_path": str(tmp_path)})
    assert answer.status_code == 400 and "plain LoRA" in answer.text
    assert httpx.post(f"{url}/unload_lora_adapter", json={"lora_name": "x"}).status_code == 404
