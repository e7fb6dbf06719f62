"""Count the memory of stages that draw answers: sampling, PPO, GRPO and RLOO. Knows no torch: forms show it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from training.core import batch_planner, resource_estimate
from training.core.memory.counted_parts import POOLED, bytes_of_token, trained_bytes, with_saving
from training.core.memory.decoder_sizes import Decoder
from training.core.memory.learning_shapes import bytes_of_answers
from training.core.memory.stage_memory import Bytes, Hardware, StageMemory


def _decoder_copy(decoder: Decoder, hardware: Hardware, *, is_full: bool = False, adapted: int = 0) -> float:
    """Return the bytes of weights that a sampler lays out anew: all on a processor, in float16 where they are float32
    and do not learn (`training.rl.products`); elsewhere those that it fuses, and in float32 those that it merges with
    the adapters of `adapted` layers (`training.rl.linear`)."""
    queries = (decoder.heads + 2 * decoder.key_heads) * decoder.head_dim
    if hardware.device != "cpu":
        fused = decoder.width * (queries + 2 * decoder.feed_forward)
        merged = adapted if hardware.dtype_bytes == 4 else 0
        return hardware.dtype_bytes * ((decoder.layers - merged) * fused + merged * decoder.linear)
    laid_out = decoder.layers * decoder.linear + decoder.vocabulary * decoder.width
    return (hardware.dtype_bytes if is_full else 2) * laid_out


def _policys_copy(decoder: Decoder, config: Mapping[str, Any], hardware: Hardware) -> float:
    """Return the bytes of weights that a policy which learns has laid out to sample."""
    if config["adapters"] == "full":
        return _decoder_copy(decoder, hardware, is_full=True)
    return _decoder_copy(decoder, hardware, adapted=_learning_layers(decoder, config))


def _sampling(decoder: Decoder, rows: int, prompt: int, answer: int, hardware: Hardware, prompts: int) -> Bytes:
    """Return what sampling takes: `prompts` different ones are read, each `prompt` tokens long."""
    size, read_at_once = hardware.dtype_bytes, min(prompts * prompt, max(prompt, batch_planner.PROMPT_TOKENS))
    return {
        # A layer at a time it is copied, when rows have ended.
        "key-value cache": decoder.cache_bytes(rows * (prompt + answer), size) * (1 + 1 / decoder.layers),
        "activations": read_at_once * resource_estimate.token_bytes(decoder.width, decoder.feed_forward, size),
        "logits": rows * decoder.vocabulary * (size + 8),  # in the model's dtype, in float32, and weights of the draw
    }


def sample_memory(decoder: Decoder, config: Mapping[str, Any], hardware: Hardware) -> StageMemory:
    prompt = config.get("max_prompt_tokens", 256)  # of a dataset's prompts nobody knows before
    standing = {
        "process": hardware.process,
        "weights": hardware.dtype_bytes * decoder.parameters,
        "weights laid out to sample": _decoder_copy(decoder, hardware),
    }
    answer = config["max_new_tokens"]
    rows = min(config["batch_size"], _rows_at_once(decoder, prompt + answer, hardware, batch_planner.BULK_CACHE))
    sampling = _sampling(decoder, rows, prompt, answer, hardware, -(-rows // config["completions_per_prompt"]))
    return StageMemory(standing, {"sampling": sampling}, f"{rows} sequences at once")


def ppo_memory(decoder: Decoder, config: Mapping[str, Any], hardware: Hardware) -> StageMemory:
    """Return the memory of policy, reference, value head and a reward head on the same trunk."""
    is_full, machine = config["adapters"] == "full", _computing(config, hardware)
    size = machine.dtype_bytes
    layers = _learning_layers(decoder, config)
    processes, is_split = config.get("processes", 1), config.get("sharding") == "full"
    rows = math.ceil(config["batch_size"] / processes)
    length = config["max_prompt_tokens"] + config["max_new_tokens"]
    standing = {
        "process": hardware.process,
        **trained_bytes(decoder, config, machine, layers),
        "reference": float(size * decoder.parameters) if is_full else 0.0,
        "weights laid out to sample": 0.0 if is_split else _policys_copy(decoder, config, machine),
        # Each token's state where the policy begins to differ, and what the value head reads, twice as wide.
        "rollout": rows * decoder.width * (length * size + config["max_new_tokens"] * 8),
        "rollout processes": _actors(decoder, config, machine),
    }
    learnt_rows = math.ceil(config["batch_size"] / config["minibatches"] / processes)
    per_token = bytes_of_token(decoder, layers, length, machine)
    output = 6 * decoder.vocabulary * decoder.width if is_full else 0
    tokens, drawn = _ppo_at_once(decoder, layers, length, machine)
    most = 1.5 * tokens if hardware.device == "cpu" else tokens  # see `batch_planner.even_batches`
    learnt, seen = min(most, learnt_rows * length), min(most, rows * length)
    # A process that works alone draws several batches of the parent's answers at once.
    batches = max(1, drawn // rows) if processes == 1 else 1
    # The held-out prompts' are drawn beside a batch that has room for them.
    looked_at = config.get("held_out_prompts", 0)
    beside = looked_at if processes == 1 and rows + looked_at <= drawn else 0
    drawn = min(drawn, max(rows + beside, min(batches * rows, config["calibration_episodes"])))
    phases = {
        "sampling": _sampling_by_itself(decoder, config, machine, drawn, drawn),
        "scoring": _scoring(decoder, machine, rows, length, seen),
        "updates": {"activations": learnt * per_token, "logits": _logprobs(decoder, machine) + output},
    }
    phases = with_saving(phases, decoder, machine)
    return StageMemory(standing, phases, f"{tokens:,.0f} tokens at once in updates, {drawn} answers in sampling")


def group_memory(decoder: Decoder, config: Mapping[str, Any], hardware: Hardware) -> StageMemory:
    """Return the memory of GRPO and RLOO: policy, reference and a reward head on the same trunk. On a processor answers
    to one prompt are computed together, and it once."""
    is_full, machine = config["adapters"] == "full", _computing(config, hardware)
    layers = _learning_layers(decoder, config) if decoder.reads_states else decoder.layers
    processes, is_split = config.get("processes", 1), config.get("sharding") == "full"
    rows = math.ceil(config["batch_size"] / processes)
    prompt, answer = config["max_prompt_tokens"], config["max_new_tokens"]
    length, is_packed = prompt + answer, machine.device == "cpu" and decoder.reads_states and not is_split
    shape = decoder.shape(layers, machine.dtype_bytes, packed=is_packed)
    if not decoder.reads_states:
        shape = replace(shape, logits=batch_planner.logit_bytes(decoder.vocabulary, machine.dtype_bytes))
    tokens, drawn = _at_once(decoder, shape, length, machine)
    most = tokens
    asked = min(rows, math.ceil((config["micro_batch_size"] or config["batch_size"]) / processes))
    asked = min(asked, math.ceil(rows / config["minibatches"]))
    together = max(1, min(asked, config["group_size"], (tokens - prompt) // answer)) if is_packed else 1
    seen = prompt + together * answer
    if is_packed:
        most = int(1.5 * tokens)  # see `batch_planner.even_batches`
        per_token = bytes_of_answers(decoder, layers, machine, prompt, answer, together) / seen
    else:
        per_token = bytes_of_token(decoder, layers, length, machine)
    learnt = min(most, math.ceil(asked / together) * seen)
    # A reward model that was trained on this parent reads its states.
    has_reference = bool(config["beta"] or not (config["reward_function"] or config["rewards"]))
    standing = {
        "process": machine.process,
        **trained_bytes(decoder, config, machine, layers),
        "reference": float(machine.dtype_bytes * decoder.parameters) if is_full and has_reference else 0.0,
        "weights laid out to sample": 0.0 if is_split else _policys_copy(decoder, config, machine),
        "rollout": float(rows * decoder.width * length * machine.dtype_bytes) if layers < decoder.layers else 0.0,
    }
    output = 6 * decoder.vocabulary * decoder.width if is_full else 0
    drawn = min(rows, drawn)
    read = math.ceil(drawn / config["group_size"])
    phases = {
        "sampling": _sampling_by_itself(decoder, config, machine, drawn, read),
        "scoring": _scoring(decoder, machine, rows, length, min(most, rows * length)),
        "updates": {
            "activations": learnt * per_token,
            "logits": (learnt * shape.logits or _logprobs(decoder, machine)) + output,
        },
    }
    phases = with_saving(phases, decoder, machine, is_full=is_full)
    return StageMemory(standing, phases, f"{learnt:,.0f} tokens at once in updates, {drawn} answers in sampling")


def _logprobs(decoder: Decoder, machine: Hardware) -> float:
    """Return what log-probabilities take beside the states that they are of."""
    rows = batch_planner.logprob_rows(machine.device, decoder.vocabulary)
    return rows * batch_planner.LOGIT_BYTES * decoder.vocabulary


def _computing(config: Mapping[str, Any], hardware: Hardware) -> Hardware:
    """Return what a policy computes on: where every weight learns and is split, in float32."""
    is_wide = config["adapters"] == "full" and config.get("sharding") == "full"
    return Hardware(hardware.device, 4 if is_wide else hardware.dtype_bytes, hardware.available)


def _learning_layers(decoder: Decoder, config: Mapping[str, Any]) -> int:
    return max(1, math.ceil(decoder.layers / 3)) if config["adapters"] == "top" else decoder.layers


def _sampling_by_itself(
    decoder: Decoder, config: Mapping[str, Any], machine: Hardware, drawn: int, prompts: int
) -> Bytes:
    """Return what sampling takes beside a policy: where that is split, each process has all weights for so long."""
    sampling = _sampling(decoder, drawn, config["max_prompt_tokens"], config["max_new_tokens"], machine, prompts)
    if config.get("sharding") == "full":
        sampling["weights gathered to sample"] = machine.dtype_bytes * decoder.parameters
    return sampling


def _scoring(decoder: Decoder, machine: Hardware, rows: int, length: int, seen: float) -> Bytes:
    return {
        "activations": seen * bytes_of_token(decoder, 1, length, machine),
        "states that the reward reads": rows * length * POOLED * decoder.width * machine.dtype_bytes,
    }


def _ppo_at_once(decoder: Decoder, layers: int, length: int, hardware: Hardware) -> tuple[int, int]:
    """Return the tokens that PPO forwards at once, and the answers that it samples at once: of available memory, where
    the recipe takes its shares of all."""
    shape = decoder.shape(layers, hardware.dtype_bytes, packed=hardware.device == "cpu")
    return _at_once(decoder, shape, length, hardware)


def _at_once(decoder: Decoder, shape: batch_planner.Shape, length: int, hardware: Hardware) -> tuple[int, int]:
    on_cpu, available = hardware.device == "cpu", _bounded(hardware)
    tokens = batch_planner.tokens_at_once(shape, longest=length, memory=available, on_cpu=on_cpu)
    return tokens, _rows_at_once(decoder, length, hardware, batch_planner.CPU_CACHE)


def _rows_at_once(decoder: Decoder, length: int, hardware: Hardware, cpu_cache: float) -> int:
    on_cpu = hardware.device == "cpu"
    whole = decoder.shape(decoder.layers, hardware.dtype_bytes, packed=on_cpu)
    return batch_planner.rows_at_once(
        whole, length=length, memory=_bounded(hardware), on_cpu=on_cpu, cpu_cache=cpu_cache
    )


def _bounded(hardware: Hardware) -> float:
    return min(hardware.available, 2**50)  # infinite where nobody knows


def _actors(decoder: Decoder, config: Mapping[str, Any], hardware: Hardware) -> float:
    """Return the bytes of all processes that draw beside the one that learns: each has the whole model."""
    count = config.get("actors", 0)
    if not count:
        return 0.0
    rows = math.ceil(config["batch_size"] / count)
    sampling = _sampling(decoder, rows, config["max_prompt_tokens"], config["max_new_tokens"], hardware, rows)
    weights = hardware.dtype_bytes * decoder.parameters + _policys_copy(decoder, config, hardware)
    return count * (hardware.process + weights + sum(sampling.values()))
