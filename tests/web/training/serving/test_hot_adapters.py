"""Children of runs as adapters in the memory of their base's server. The server is a stand-in for vLLM."""

from __future__ import annotations

import json
from contextlib import contextmanager
from datetime import timedelta

import pytest
from django.utils import timezone

from annotate.arena.battles import pairing
from annotate.language_models import actions, model_keys, model_server, serving
from annotate.models import AdapterServer, Contestant, LanguageModel, ServedAdapter
from tests.support import factories
from training.models import Run
from training.runs.ordering.end_events import tell_finished
from training.runs.queue import asked_models
from training.serving import adapter_upkeep, eviction, hot_loading
from training.serving.dialects import detection
from training.serving.dialects.exchange import Loaded, Reply

pytestmark = pytest.mark.django_db
State = ServedAdapter.State


def work() -> None:
    """What the background worker does until nothing waits."""
    adapter_upkeep.enter_missing()
    while adapter_upkeep.load_next():
        pass


def row_of(model: LanguageModel) -> ServedAdapter:
    return ServedAdapter.objects.get(model=model)


def again(model: LanguageModel) -> LanguageModel:
    return LanguageModel.objects.get(pk=model.pk)


def answer_of(model: LanguageModel) -> str:
    return model_server.complete_chat(
        again(model), [{"role": "user", "content": "?"}], max_new_tokens=4, temperature=0.0, top_p=1.0
    ).text


def test_the_child_of_a_run_is_loaded_beside_its_base_and_answers(vllm, new_child, base):
    child = new_child("child")
    tell_finished(Run.objects.get(output_model=child))
    assert row_of(child).state == State.WAITING
    work()
    row = row_of(child)
    assert (row.state, row.dialect, row.server_url) == (State.LOADED, "vllm", vllm.url)
    assert row.load_seconds is not None and row.loaded_at is not None
    assert vllm.loaded == {f"child-{child.pk}": str(child.path)}
    assert answer_of(child) == f"child-{child.pk} answers."
    assert answer_of(base) == "base answers."
    assert serving.serving(again(child)).state == "loaded"


def test_a_child_that_no_signal_reached_is_found(vllm, new_child):
    child = new_child("child")
    work()
    assert row_of(child).state == State.LOADED


def test_a_child_of_a_child_is_loaded_on_the_weights_that_its_chain_began_from(vllm, new_child, base):
    first = new_child("first")
    second = new_child("second", parent=first)
    work()
    assert row_of(second).base == base and f"second-{second.pk}" in vllm.loaded


def test_the_key_of_the_base_reaches_its_children_and_no_log(vllm, base, new_child, caplog):
    vllm.key = "sk-very-secret"
    LanguageModel.objects.filter(pk=base.pk).update(sealed_key=model_keys.seal(vllm.key, base.endpoint))
    child = new_child("child")
    with caplog.at_level("DEBUG"):
        work()
        assert answer_of(child) == f"child-{child.pk} answers."
    vllm.key = "sk-another-one"
    LanguageModel.objects.filter(pk=base.pk).update(sealed_key=model_keys.seal(vllm.key, base.endpoint))
    adapter_upkeep.check_servers()
    assert answer_of(child) == f"child-{child.pk} answers."
    assert "sk-" not in caplog.text


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"updates_at_runtime": False}, "VLLM_ALLOW_RUNTIME_LORA_UPDATING=True"),
        ({"lora": False}, "--enable-lora"),
        ({"max_lora_rank": 4}, "--max-lora-rank 8"),
        ({"key": "sk-1"}, "does not accept the key"),
    ],
)
def test_what_is_wrong_with_a_server_is_said_and_mended_by_itself(vllm, new_child, change, words, old):
    vllm.old_errors = old
    good = {name: getattr(vllm, name) for name in change}
    for name, value in change.items():
        setattr(vllm, name, value)
    child = new_child("child")
    work()
    told = serving.serving(again(child))
    assert row_of(child).state == State.FAILED and words in row_of(child).problem
    assert told.state == "failed" and words in told.problem and told.can_load
    assert not again(child).endpoint, "nobody asks for what is not there"
    for name, value in good.items():
        setattr(vllm, name, value)
    work()
    assert row_of(child).state == State.FAILED, "after a pause"
    ServedAdapter.objects.update(due_at=timezone.now())
    work()
    assert row_of(child).state == State.LOADED and not row_of(child).problem


def test_a_folder_that_the_server_does_not_see_is_named_with_the_remedy(vllm, new_child, base, settings):
    AdapterServer.objects.create(base=base, data_folder="/mnt/elsewhere")
    child = new_child("child")
    work()
    assert "data folder" in row_of(child).problem
    assert vllm.calls[-1][1]["lora_path"] == "/mnt/elsewhere/runs/child/model"
    AdapterServer.objects.update(data_folder=str(settings.DATA_DIR))
    serving.load(again(child))
    assert serving.serving(again(child)).is_loading
    work()
    assert row_of(child).state == State.LOADED


def test_a_server_that_is_away_is_tried_again_after_pauses_that_grow(base, new_child):
    LanguageModel.objects.filter(pk=base.pk).update(endpoint="http://127.0.0.1:9/v1")
    child = new_child("child")
    pauses = []
    for _ in range(8):
        ServedAdapter.objects.update(due_at=timezone.now())
        work()
        pauses.append((row_of(child).due_at - timezone.now()).total_seconds())
    assert "cannot be reached" in row_of(child).problem
    assert pauses[0] < 6 and pauses[1] > pauses[0] and 250 < pauses[-1] <= 300


def test_the_limit_is_kept_and_the_least_used_makes_room(vllm, base, new_child, project):
    AdapterServer.objects.create(base=base, limit=2)
    first, second = new_child("first"), new_child("second")
    work()
    now = timezone.now()
    ServedAdapter.objects.update(loaded_at=now - timedelta(hours=1))
    factories.make_completion(factories.make_prompt(project), model=first)  # first was used since
    third = new_child("third")
    work()
    assert vllm.most_loaded == 2
    assert row_of(second).state == State.EVICTED and "keeps 2" in row_of(second).problem
    assert {row_of(first).state, row_of(third).state} == {State.LOADED}
    assert not again(second).endpoint and not again(second).sealed_key
    assert pairing.served_contestants(project) == [again(first), again(third)]
    told = serving.serving(again(second))
    assert told.state == "evicted" and told.can_load
    serving.load(again(second))
    work()
    assert row_of(second).state == State.LOADED and row_of(first).state != row_of(third).state
    assert vllm.most_loaded == 2


def test_one_outside_of_every_arena_goes_before_one_that_competes(vllm, base, new_child, project):
    AdapterServer.objects.create(base=base, limit=2)
    competing, alone = new_child("competing"), new_child("alone", competes=False)
    work()
    factories.make_completion(factories.make_prompt(project), model=alone)
    assert eviction.least_used(list(eviction.loaded_rows(base)))[0].model == alone
    new_child("third")
    work()
    assert (row_of(alone).state, row_of(competing).state) == (State.EVICTED, State.LOADED)


def test_a_retired_child_is_unloaded_and_one_brought_back_is_loaded(vllm, new_child):
    child, staff = new_child("child"), factories.make_user(is_staff=True)
    work()
    actions.retire(model=again(child), reason="worse", by=staff)
    adapter_upkeep.unload_retired()
    assert not vllm.loaded and row_of(child).state == State.UNLOADED and not again(child).endpoint
    calls = len(vllm.calls)
    adapter_upkeep.unload_retired()
    assert len(vllm.calls) == calls, "once is enough"
    work()
    assert not vllm.loaded, "a retired one is not loaded"
    actions.bring_back(model=again(child), by=staff)
    adapter_upkeep.unload_retired()
    work()
    assert row_of(child).state == State.LOADED and vllm.loaded


def test_after_a_restart_of_the_server_everything_is_loaded_again(vllm, new_child):
    children = [new_child(f"child-{number}") for number in range(3)]
    work()
    vllm.restart()
    adapter_upkeep.check_servers()
    work()
    assert len(vllm.loaded) == 3 and {row_of(child).state for child in children} == {State.LOADED}


def test_children_follow_a_base_that_is_served_elsewhere(vllm, new_child, base, project):
    child = new_child("child")
    work()
    LanguageModel.objects.filter(pk=base.pk).update(endpoint=vllm.url.replace("127.0.0.1", "localhost"))
    adapter_upkeep.check_servers()
    assert row_of(child).state == State.WAITING and pairing.served_contestants(project) == []
    work()
    assert again(child).endpoint.startswith("http://localhost") and row_of(child).state == State.LOADED


def test_a_name_that_the_server_has_from_before_is_loaded_anew(vllm, new_child):
    child = new_child("child")
    vllm.loaded[f"child-{child.pk}"] = "/of/another/site"
    work()
    assert vllm.loaded[f"child-{child.pk}"] == str(child.path)


def test_what_has_weights_of_its_own_says_what_serving_it_takes(vllm, new_child, base, settings):
    merged = new_child("merged")
    (settings.DATA_DIR / merged.folder / "adapter_config.json").unlink()
    work()
    assert row_of(merged).state == State.COLD and "weights of its own" in row_of(merged).problem
    assert not vllm.calls


def test_a_child_whose_files_come_later_is_loaded_then(vllm, new_child):
    """As where a node of a cluster has stored them, and an operator brings them."""
    child = new_child("child")
    child.path.rename(child.path.with_name("elsewhere"))
    work()
    assert row_of(child).state == State.COLD and "not on this machine" in row_of(child).problem
    child.path.with_name("elsewhere").rename(child.path)
    work()
    assert row_of(child).state == State.LOADED


def test_a_child_that_only_the_storage_has_says_how_it_is_brought(vllm, new_child, settings, tmp_path):
    child = new_child("child")
    child.path.rename(child.path.with_name("elsewhere"))
    (tmp_path / "storage").mkdir()
    settings.STORAGE = str(tmp_path / "storage")
    work()
    assert f"manage.py store_artefacts --bring {child.folder}" in row_of(child).problem
    child.path.with_name("elsewhere").rename(child.path)
    work()
    assert row_of(child).state == State.LOADED


def test_an_endpoint_that_somebody_gave_stays(vllm, new_child):
    child = new_child("child")
    LanguageModel.objects.filter(pk=child.pk).update(endpoint="http://models.example.org/v1", served_name="mine")
    work()
    assert row_of(child).state == State.COLD and again(child).served_name == "mine" and not vllm.loaded


def test_two_background_workers_load_one_adapter_once(vllm, new_child, monkeypatch):
    new_child("child")
    claimed = adapter_upkeep._claimed
    adapter_upkeep.enter_missing()
    assert claimed() is not None and claimed() is None


def test_with_llama_cpp_each_request_says_which_adapter_answers(base, new_child, fake, monkeypatch):
    child = new_child("child")
    loaded = Loaded({"lora": [{"id": 3, "scale": 1.0}]}, {"lora": [{"id": 3, "scale": 0.0}]})
    monkeypatch.setattr(detection, "dialect_of", lambda send: "llama.cpp")
    monkeypatch.setattr(detection.module_of("llama.cpp"), "load", lambda send, adapter: loaded)
    LanguageModel.objects.filter(pk=base.pk).update(endpoint=fake.url)
    work()
    assert answer_of(child) and answer_of(base)
    assert [request["lora"] for request in fake.requests] == [
        [{"id": 3, "scale": 1.0}],
        [{"id": 3, "scale": 0.0}],
    ]
    described = asked_models._described(again(child))
    assert described["request_fields"] == {"lora": [{"id": 3, "scale": 1.0}]}, "a recipe sends it, too"


def test_children_at_llama_cpp_are_looked_up_by_one_request(base, new_child, fake, monkeypatch):
    children = [new_child(f"child-{n}") for n in range(3)]
    LanguageModel.objects.filter(pk=base.pk).update(endpoint=fake.url)
    numbers, asked = [0, 1, 2], []

    @contextmanager
    def connected(of):
        def send(method, path, body):
            asked.append(path)
            names = [f"child-{n}-adapter.gguf" for n in range(3)]
            entries = [{"id": k, "path": name, "scale": 0.0} for k, name in zip(numbers, names, strict=True)]
            return Reply(200, json.dumps(entries if path.startswith("/") else {"data": [{"id": "base"}]}))

        yield send

    for module in (hot_loading, adapter_upkeep):
        monkeypatch.setattr(module, "connected", connected)
    work()
    assert {row_of(child).dialect for child in children} == {"llama.cpp"}
    asked.clear()
    adapter_upkeep.check_servers()
    assert asked == ["/lora-adapters"]
    numbers.reverse()  # it was started anew
    adapter_upkeep.check_servers()
    assert len(asked) == 2
    of_requests = [again(child).request_fields["lora"] for child in children]
    assert of_requests == [[{"id": n, "scale": 1.0}] for n in (2, 1, 0)]


def test_a_child_without_a_base_is_no_servers_and_answers_like_any_other(new_child):
    child = new_child("child")
    ServedAdapter.objects.update_or_create(model=child, defaults={"base": None, "state": State.EVICTED})
    assert serving.serving(child).state != "evicted"
    assert serving.asked_now(child) == child and serving.served_of([child]) == [child]


def test_those_that_compete_for_fewer_places_take_turns_while_the_arena_goes_on(vllm, base, new_child, project):
    AdapterServer.objects.create(base=base, limit=1)
    first = new_child("first")
    work()
    second = new_child("second")
    work()
    assert (row_of(first).state, row_of(second).state) == (State.EVICTED, State.LOADED)
    adapter_upkeep.take_turns()
    assert row_of(first).state == State.EVICTED, "nobody has asked anything since"
    factories.make_completion(factories.make_prompt(project), model=second)
    adapter_upkeep.take_turns()
    work()
    assert (row_of(first).state, row_of(second).state) == (State.LOADED, State.EVICTED)
    Contestant.objects.filter(model=second).update(left_at=timezone.now())
    factories.make_completion(factories.make_prompt(project), model=first)
    adapter_upkeep.take_turns()
    assert row_of(second).state == State.EVICTED, "it competes no more"
