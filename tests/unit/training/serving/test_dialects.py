"""What each server is told, and what its answers mean."""

from __future__ import annotations

import json
from typing import Any

import pytest

from training.serving.dialects import detection, llama_cpp, transformers_serve, vllm
from training.serving.dialects.exchange import Adapter, Loaded, NotLoaded, Reply

ADAPTER = Adapter(name="child-7", folder="/data/runs/7/model", file_stem="my-child")


class Server:
    """Answers as told, and keeps what it was asked."""

    def __init__(self, **replies: Any) -> None:
        self.replies, self.asked = replies, []

    def __call__(self, method: str, path: str, body: Any) -> Reply:
        self.asked.append((method, path, body))
        reply = self.replies.get(f"{method} {path}", (404, {"detail": "Not Found"}))
        reply = reply.pop(0) if isinstance(reply, list) else reply
        status, answer = reply
        return Reply(status, answer if isinstance(answer, str) else json.dumps(answer))


def server(replies: dict[str, Any]) -> Server:
    return Server(**replies)


@pytest.mark.parametrize(
    ("models", "adapters", "dialect"),
    [
        ({"data": [{"id": "base", "owned_by": "vllm"}]}, (404, {"detail": "Not Found"}), "vllm"),
        ({"data": [{"id": "m", "status": {"value": "loaded"}}]}, (404, {"detail": "Not Found"}), "transformers"),
        ({"data": []}, (404, {"detail": "Not Found"}), "transformers"),
        ({"data": [{"id": "m.gguf", "owned_by": "llamacpp"}]}, (200, []), "llama.cpp"),
        ({"data": [{"id": "m.gguf"}]}, (200, [{"id": 0, "path": "a.gguf", "scale": 0.0}]), "llama.cpp"),
    ],
)
def test_a_server_is_known_by_what_it_answers(models, adapters, dialect):
    assert detection.dialect_of(server({"GET models": (200, models), "GET /lora-adapters": adapters})) == dialect


def test_a_key_that_is_refused_is_said_before_anything_is_loaded():
    with pytest.raises(NotLoaded, match="does not accept the key"):
        detection.dialect_of(server({"GET models": (401, {"error": "Unauthorized"})}))


def test_llama_cpp_finds_the_file_of_the_child_and_switches_the_others_off_for_the_base():
    entries = [{"id": 0, "path": "/a/other-adapter.gguf", "scale": 1.0}, {"id": 1, "path": "my-child-adapter-f32.gguf"}]
    asked = server({"GET /lora-adapters": (200, entries), "POST /lora-adapters": (200, {"success": True})})
    loaded = llama_cpp.load(asked, ADAPTER)
    assert loaded.request_fields == {"lora": [{"id": 1, "scale": 1.0}]}
    assert loaded.base_fields == {"lora": [{"id": 1, "scale": 0.0}]}, "else the base goes on from a child's cache"
    assert asked.asked[-1] == ("POST", "/lora-adapters", [{"id": 0, "scale": 0.0}, {"id": 1, "scale": 0.0}])


def test_transformers_serve_without_the_call_loads_the_folder_by_itself():
    assert transformers_serve.load(server({}), ADAPTER) is None
    ours = server({"POST load_lora_adapter": (200, "Success")})
    assert transformers_serve.load(ours, ADAPTER) == Loaded()
    assert ours.asked == [("POST", "load_lora_adapter", {"lora_name": "child-7", "lora_path": "/data/runs/7/model"})]
    missing = {"error": {"message": "Loading lora x failed: No adapter found for x", "code": 404}}
    with pytest.raises(NotLoaded, match="does not see"):
        transformers_serve.load(server({"POST load_lora_adapter": (404, missing)}), ADAPTER)


def test_llama_cpp_without_the_file_says_how_it_is_started():
    entries = [{"id": 0, "path": "my-child-2-adapter.gguf", "scale": 0.0}]
    with pytest.raises(NotLoaded, match=r"--lora my-child-adapter-float32.gguf .*--lora-init-without-apply"):
        llama_cpp.load(server({"GET /lora-adapters": (200, entries)}), ADAPTER)


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (Reply(404, '{"detail":"Not Found"}'), "VLLM_ALLOW_RUNTIME_LORA_UPDATING"),
        (Reply(404, "<html>no such page</html>"), "VLLM_ALLOW_RUNTIME_LORA_UPDATING"),
        (
            Reply(404, '{"error":{"message":"Loading lora x failed: No adapter found for /p","code":404}}'),
            "does not see",
        ),
        (Reply(400, '{"object":"error","message":"LoRA rank 48 is greater than max_lora_rank 16."}'), "rank 64"),
        (Reply(500, '{"error":{"message":"Call failed: LoRA is not enabled. Use --enable-lora"}}'), "--enable-lora"),
        (Reply(500, "boom"), "Its own log says why"),
        (Reply(429, "slow"), "is busy"),
    ],
)
def test_refusals_of_vllm_mean_something(reply, words):
    assert words in str(vllm.meaning(reply))
    assert reply.text not in str(vllm.meaning(reply)), "what a server says may not be shown"


def test_unloading_what_is_not_there_is_no_error():
    vllm.unload(server({"POST unload_lora_adapter": (404, {"error": {"message": "cannot be found"}})}), ADAPTER)
    with pytest.raises(NotLoaded):
        vllm.unload(server({"POST unload_lora_adapter": (500, "boom")}), ADAPTER)
