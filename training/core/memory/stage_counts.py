"""Add up the memory of a training stage before it starts, from the sizes of its model and its options.

Weights, gradients, optimiser and reference as the recipes hold them; activations as `batch_planner` and
`resource_estimate` count them; caches of sampling. `processes` share the rows of a step and nothing else: each holds
the whole model (data parallelism). benchmarks/memory_estimates.py compares with what runs are seen to take. Knows no
torch: forms show it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from training.core import batch_planner, resource_estimate
from training.core.memory.counted_parts import POOLED, bytes_of_token, trained_bytes, with_saving
from training.core.memory.decoder_sizes import Decoder
from training.core.memory.learning_shapes import adapted_layers, bytes_of_answers, kept_trunk, learning_shape
from training.core.memory.rollout_counts import group_memory, ppo_memory, sample_memory
from training.core.memory.stage_memory import Bytes, Hardware, StageMemory

ANSWERS = "answers"  # to each prompt of a dataset: a name beside a config's options


def stage_memory(kind: str, decoder: Decoder, config: Mapping[str, Any], hardware: Hardware) -> StageMemory | None:
    """Return the memory of one process of a run of this kind; None for kinds that are not counted."""
    count = _KINDS.get(kind)
    return count(decoder, config, hardware) if count else None


def _with_gradients(training: Bytes, decoder: Decoder, size: int, *, is_split: bool) -> dict[str, Bytes]:
    """Return the phases of a step in which every weight learns.

    A backward pass frees activations as it makes gradients. Where a batch is split, those of its earlier parts, in
    float32, are there during the later parts' passes; at the end there are those of the last pass beside them. They are
    gone before the next step, and before anything is saved.
    """
    total = decoder.parameters
    before, last = 4.0 * total * is_split, 2.0 * total * (is_split and size == 2)
    return {"training": {"gradients": before, **training}, "taking a step": {"gradients": 4.0 * total + last}}


def _sft(decoder: Decoder, config: Mapping[str, Any], hardware: Hardware) -> StageMemory:
    packed = hardware.device == "cpu"
    layers = adapted_layers(decoder, config)
    longest = config["max_length"]
    shape = decoder.shape(layers if packed else decoder.layers, hardware.dtype_bytes, packed=packed)
    is_full = config["adapters"] == "full"
    learning = trained_bytes(decoder, config, hardware, layers)
    most = batch_planner.CPU_TOKENS if packed else batch_planner.GPU_TOKENS
    rows = math.ceil(config["batch_size"] / config.get("processes", 1))
    wanted = max(min(most, rows * longest), longest)
    room = batch_planner.SHARE * hardware.available - hardware.process - sum(learning.values())
    recompute, tokens = _planned(shape, longest, wanted, room, config["activation_checkpointing"])
    output = 6 * decoder.vocabulary * decoder.width if is_full else 0
    training: Bytes = {
        "activations": tokens * bytes_of_token(decoder, layers, longest, hardware, recompute=recompute),
        "logits": batch_planner.LOGIT_BYTES * batch_planner.loss_logits(hardware.device) + output,
        "states below what learns": kept_trunk(decoder, layers, hardware),
    }
    phases = {"training": training}
    if is_full:
        del learning["gradients"]
        phases = _with_gradients(training, decoder, hardware.dtype_bytes, is_split=rows * longest > tokens)
    phases = with_saving(phases, decoder, hardware, is_full=is_full)
    return StageMemory({"process": hardware.process, **learning}, phases, _at_once(tokens, recompute))


def _planned(
    shape: batch_planner.Shape, longest: int, wanted: int, room: float, checkpointing: str, *, row: int | None = None
) -> tuple[bool, int]:
    """Return whether activations are computed twice, and tokens at once, as `batch_planner.plan` chooses them."""
    for recompute in {"auto": (False, True), "on": (True,), "off": (False,)}[checkpointing]:
        per_token = shape.bytes_per_token(row or longest, recompute=recompute)
        tokens = wanted if math.isinf(room) else min(wanted, int(max(room, 0) // per_token))
        if tokens >= (longest if recompute or checkpointing == "off" else max(longest, wanted // 2)):
            return recompute, tokens
    return recompute, longest


def _at_once(tokens: float, recompute: bool) -> str:
    return f"{tokens:,.0f} tokens at once" + (", activations recomputed" if recompute else "")


def _rows(decoder: Decoder, config: Mapping[str, Any], hardware: Hardware) -> StageMemory:
    """Return the memory of pretraining and of training on a domain: rows of `context_length` tokens."""
    layers, method = adapted_layers(decoder, config), config.get("adapters", "full")
    total = decoder.parameters
    trained = total if method == "full" else decoder.adapter_parameters(config["lora_rank"], layers)
    shape = resource_estimate.Shape(
        total, trained, total, decoder.width, decoder.layers, decoder.heads, decoder.feed_forward, decoder.vocabulary
    )
    length, is_bfloat16 = config["context_length"], _is_bfloat16(config, hardware)
    choices = {
        "length": length, "batch": math.ceil(config["batch_size"] / config.get("processes", 1)),
        "is_bfloat16": is_bfloat16, "device": hardware.device, "rows": config.get("micro_batch_size"),
        "checkpointing": {"on": True, "off": False}.get(config["activation_checkpointing"]),
    }  # fmt: skip
    try:
        plan = resource_estimate.plan(shape, available=hardware.available, **choices)
        rows, recompute = plan.rows, plan.checkpointing
    except resource_estimate.DoesNotFit:
        rows, recompute = config.get("micro_batch_size") or 1, config["activation_checkpointing"] != "off"
    activations = resource_estimate.activation_bytes(
        shape, length, rows, is_bfloat16=is_bfloat16, checkpointing=recompute, keeps_scores=hardware.device == "cpu"
    )
    machine = Hardware(hardware.device, 2 if is_bfloat16 else 4, hardware.available)
    learning = trained_bytes(decoder, {"adapters": method, **config}, machine, layers)
    loss = resource_estimate.loss_buffers(hardware.device) + 4 * decoder.vocabulary * decoder.width
    training: Bytes = {"activations": activations, "logits": loss}
    phases = {"training": training}
    if method == "full":
        del learning["gradients"]
        phases = _with_gradients(training, decoder, machine.dtype_bytes, is_split=choices["batch"] > rows)
    return StageMemory({"process": hardware.process, **learning}, phases, _at_once(rows * length, recompute))


def _is_bfloat16(config: Mapping[str, Any], hardware: Hardware) -> bool:
    return hardware.dtype_bytes == 2 if config.get("dtype", "auto") == "auto" else config["dtype"] == "bfloat16"


def _reward(decoder: Decoder, config: Mapping[str, Any], hardware: Hardware) -> StageMemory:
    """Return the memory of a reward head, and of the trunk below it where that learns: two thirds of the layers.

    The answers to a prompt are forwarded together, however small a batch: `answers` of each, two where nobody knows.
    """
    on_cpu, size, layers = hardware.device == "cpu", hardware.dtype_bytes, max(round(decoder.layers * 2 / 3), 1)
    prompt, answer = config["max_prompt_tokens"], config["max_completion_tokens"]
    longest, processes = prompt + answer, config.get("processes", 1)
    answers = config.get(ANSWERS) or 2
    together = prompt + answers * answer  # tokens that are computed at once, at least
    prompts = math.ceil(config["batch_size"] / answers)
    asked = math.ceil(prompts / processes) * together
    seen = max(math.ceil(min(1024 if on_cpu else 65536, prompts * together) / processes), together)
    block = bytes_of_token(decoder, 1, longest, hardware)
    reading = {"activations": seen * (block + POOLED * decoder.width * size)}
    if config["method"] == "head":
        return StageMemory(
            {"process": hardware.process, "weights": size * decoder.parameters}, {"reading": reading},
            f"{seen:,.0f} tokens at once",
        )  # fmt: skip
    below = layers * decoder.block + decoder.vocabulary * decoder.width
    trained = trained_bytes(decoder, config, hardware, layers)
    if config["adapters"] == "full":  # what lies above the features does not learn
        trained = {name: value * below / decoder.parameters for name, value in trained.items() if name != "weights"}
        trained["weights"] = size * decoder.parameters
    learning = max(min(1024 if on_cpu else 16384, asked), together)
    per_token = bytes_of_token(decoder, layers, longest, hardware)
    if on_cpu and decoder.reads_states:
        learning -= learning % together
        per_token = bytes_of_answers(decoder, layers, hardware, prompt, answer, answers) / together
    phases = {"reading": reading, "finetuning": {"activations": learning * per_token}}
    phases = with_saving(phases, decoder, hardware)
    return StageMemory({"process": hardware.process, **trained}, phases, f"{learning:,.0f} tokens at once")


def _preference(answers: int) -> Callable[[Decoder, Mapping[str, Any], Hardware], StageMemory]:
    """Return the count for DPO (an example is two answers) and KTO (one). Both learn as SFT does, beside a few numbers
    for each answer: the reference is no second model."""

    def count(decoder: Decoder, config: Mapping[str, Any], hardware: Hardware) -> StageMemory:
        layers = adapted_layers(decoder, config)
        longest = config["max_prompt_tokens"] + config["max_completion_tokens"]
        shape = learning_shape(decoder, layers, hardware)
        is_full = config["adapters"] == "full"
        learning = trained_bytes(decoder, config, hardware, layers)
        together = config["micro_batch_size"] or config["batch_size"]
        asked = answers * longest * math.ceil(together / config.get("processes", 1))
        most = batch_planner.CPU_TOKENS if hardware.device == "cpu" else batch_planner.GPU_TOKENS
        wanted = max(min(most, asked), answers * longest)
        room = batch_planner.SHARE * hardware.available - hardware.process - sum(learning.values())
        checkpointing = config["activation_checkpointing"]
        recompute, tokens = _planned(shape, answers * longest, wanted, room, checkpointing, row=longest)
        output = 8 * decoder.vocabulary * decoder.width if is_full else 0
        logits = 12 * batch_planner.logprob_rows(hardware.device, decoder.vocabulary) * decoder.vocabulary
        run_layers = shape.layers if hardware.device == "cpu" else layers
        per_token = bytes_of_token(decoder, run_layers, longest, hardware, recompute=recompute)
        if shape.packed and not recompute:
            lengths = config["max_prompt_tokens"], config["max_completion_tokens"]
            per_token = bytes_of_answers(decoder, layers, hardware, *lengths, answers) / (answers * longest)
        training: Bytes = {
            "activations": tokens * per_token,
            "logits": (tokens * shape.logits or logits) + output,
            "states below what learns": kept_trunk(decoder, layers, hardware),
        }
        phases = {"training": training}
        if is_full:
            del learning["gradients"]
            phases = _with_gradients(training, decoder, hardware.dtype_bytes, is_split=asked > tokens)
        phases = with_saving(phases, decoder, hardware, is_full=is_full)
        return StageMemory({"process": hardware.process, **learning}, phases, _at_once(tokens, recompute))

    return count


_KINDS: dict[str, Callable[[Decoder, Mapping[str, Any], Hardware], StageMemory]] = {
    "pretrain": _rows,
    "domain": _rows,
    "sft": _sft,
    "reward": _reward,
    "dpo": _preference(2),
    "kto": _preference(1),
    "sample": sample_memory,
    "ppo": ppo_memory,
    "grpo": group_memory,
    "rloo": group_memory,
}
