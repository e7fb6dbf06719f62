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
from training.core.memory.decoder_sizes import Decoder
from training.core.memory.learning_shapes import adapted_layers, bytes_of_answers, kept_trunk, learning_shape
from training.core.memory.stage_memory import Bytes, Hardware, StageMemory

ADAM = 8  # two moments, float32
COMPARED = 8, 128  # sequences and their tokens, on which a saved child's distributions are compared (`children`)
COPIES = 28  # bytes of each number of a matrix that is compared: float32 before, float64 both updates and a product
ANSWERS = "answers"  # to each prompt of a dataset: a name beside a config's options
POOLED = 5  # layers and poolings of a reward head's features


def stage_memory(kind: str, decoder: Decoder, config: Mapping[str, Any], hardware: Hardware) -> StageMemory | None:
    """Return the memory of one process of a run of this kind; None for kinds that are not counted."""
    count = _KINDS.get(kind)
    return count(decoder, config, hardware) if count else None


def _trained(decoder: Decoder, config: Mapping[str, Any], hardware: Hardware, layers: int) -> Bytes:
    """Return the bytes of weights and of what learning adds to them, by `adapters`."""
    size, total = hardware.dtype_bytes, decoder.parameters
    method = config.get("adapters", "full")
    if method == "full":
        copies = {"master weights": 4.0 * total} if size == 2 else {}
        return {
            "weights": size * total,
            **copies,
            "gradients": (6 if size == 2 else 4) * total,
            "optimiser": ADAM * total,
        }
    learnt = decoder.adapter_parameters(config.get("lora_rank", 8), layers)
    weights = 0.55 * total if method == "qlora" else size * total
    return {"weights": weights + 4 * learnt, "gradients": 4 * learnt, "optimiser": ADAM * learnt}


def _with_saving(
    phases: dict[str, Bytes], decoder: Decoder, hardware: Hardware, *, is_full: bool = False
) -> dict[str, Bytes]:
    """Add what saving takes: the child is loaded back and compared, on a GPU after the trained model has left it.

    Where every weight has learnt (`is_full`), each is first compared with the parent's, in float64: the largest matrix
    has five copies then. A processor's allocator keeps most of what earlier phases have freed.
    """
    if hardware.device == "cuda":
        return {**phases, "saving": {"logits": 6 * COMPARED[1] * decoder.vocabulary}}
    sequences, tokens = COMPARED
    answers = 4 * sequences * tokens * decoder.vocabulary
    steps: list[Bytes] = [
        {
            "saved model": hardware.dtype_bytes * decoder.parameters,
            "logits": 2 * answers + 6 * 8 * tokens * decoder.vocabulary,
        }
    ]
    if is_full:
        steps.append({"weights compared": COPIES * decoder.vocabulary * decoder.width, "logits": answers})
    freed = {"freed and not returned": max(sum(parts.values()) for parts in phases.values())}
    largest: Bytes = max(steps, key=lambda step: sum(step.values()))
    return {**phases, "saving": {**largest, **freed}}


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
    learning = _trained(decoder, config, hardware, layers)
    most = batch_planner.CPU_TOKENS if packed else batch_planner.GPU_TOKENS
    rows = math.ceil(config["batch_size"] / config.get("processes", 1))
    wanted = max(min(most, rows * longest), longest)
    room = batch_planner.SHARE * hardware.available - hardware.process - sum(learning.values())
    recompute, tokens = _planned(shape, longest, wanted, room, config["activation_checkpointing"])
    output = 6 * decoder.vocabulary * decoder.width if is_full else 0
    training: Bytes = {
        "activations": tokens * _per_token(decoder, layers, longest, hardware, recompute=recompute),
        "logits": batch_planner.LOSS_BYTES + output,
        "states below what learns": kept_trunk(decoder, layers, hardware),
    }
    phases = {"training": training}
    if is_full:
        del learning["gradients"]
        phases = _with_gradients(training, decoder, hardware.dtype_bytes, is_split=rows * longest > tokens)
    phases = _with_saving(phases, decoder, hardware, is_full=is_full)
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


def _per_token(decoder: Decoder, layers: int, length: int, hardware: Hardware, *, recompute: bool = False) -> float:
    """Return the bytes that the backward pass needs of one token, in all layers that are run with gradients.

    On a processor the recipes' loops run layers of their own (`training.rl.packed`), which keep less.
    """
    size = hardware.dtype_bytes
    if hardware.device == "cpu":
        shape = decoder.shape(layers, size, packed=decoder.reads_states)
        return shape.bytes_per_token(length, recompute=recompute)
    block = resource_estimate.token_bytes(decoder.width, decoder.feed_forward, size)
    return layers * decoder.width * size + 2 * block if recompute else layers * block


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
    learning = _trained(decoder, {"adapters": method, **config}, machine, layers)
    loss = resource_estimate.LOSS_BUFFERS + 4 * decoder.vocabulary * decoder.width
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
    block = _per_token(decoder, 1, longest, hardware)
    reading = {"activations": seen * (block + POOLED * decoder.width * size)}
    if config["method"] == "head":
        return StageMemory(
            {"process": hardware.process, "weights": size * decoder.parameters}, {"reading": reading},
            f"{seen:,.0f} tokens at once",
        )  # fmt: skip
    below = layers * decoder.block + decoder.vocabulary * decoder.width
    trained = _trained(decoder, config, hardware, layers)
    if config["adapters"] == "full":  # what lies above the features does not learn
        trained = {name: value * below / decoder.parameters for name, value in trained.items() if name != "weights"}
        trained["weights"] = size * decoder.parameters
    learning = max(min(1024 if on_cpu else 16384, asked), together)
    per_token = _per_token(decoder, layers, longest, hardware)
    if on_cpu and decoder.reads_states:
        learning -= learning % together
        per_token = bytes_of_answers(decoder, layers, hardware, prompt, answer, answers) / together
    phases = {"reading": reading, "finetuning": {"activations": learning * per_token}}
    phases = _with_saving(phases, decoder, hardware)
    return StageMemory({"process": hardware.process, **trained}, phases, f"{learning:,.0f} tokens at once")


def _preference(answers: int) -> Callable[[Decoder, Mapping[str, Any], Hardware], StageMemory]:
    """Return the count for DPO (an example is two answers) and KTO (one). Both learn as SFT does, beside a few numbers
    for each answer: the reference is no second model."""

    def count(decoder: Decoder, config: Mapping[str, Any], hardware: Hardware) -> StageMemory:
        layers = adapted_layers(decoder, config)
        longest = config["max_prompt_tokens"] + config["max_completion_tokens"]
        shape = learning_shape(decoder, layers, hardware)
        is_full = config["adapters"] == "full"
        learning = _trained(decoder, config, hardware, layers)
        together = config["micro_batch_size"] or config["batch_size"]
        asked = answers * longest * math.ceil(together / config.get("processes", 1))
        most = batch_planner.CPU_TOKENS if hardware.device == "cpu" else batch_planner.GPU_TOKENS
        wanted = max(min(most, asked), answers * longest)
        room = batch_planner.SHARE * hardware.available - hardware.process - sum(learning.values())
        checkpointing = config["activation_checkpointing"]
        recompute, tokens = _planned(shape, answers * longest, wanted, room, checkpointing, row=longest)
        output = 8 * decoder.vocabulary * decoder.width if is_full else 0
        run_layers = shape.layers if hardware.device == "cpu" else layers
        per_token = _per_token(decoder, run_layers, longest, hardware, recompute=recompute)
        if shape.packed and not recompute:
            lengths = config["max_prompt_tokens"], config["max_completion_tokens"]
            per_token = bytes_of_answers(decoder, layers, hardware, *lengths, answers) / (answers * longest)
        training: Bytes = {
            "activations": tokens * per_token,
            "logits": (tokens * shape.logits or 128 * 12 * decoder.vocabulary) + output,
            "states below what learns": kept_trunk(decoder, layers, hardware),
        }
        phases = {"training": training}
        if is_full:
            del learning["gradients"]
            phases = _with_gradients(training, decoder, hardware.dtype_bytes, is_split=asked > tokens)
        phases = _with_saving(phases, decoder, hardware, is_full=is_full)
        return StageMemory({"process": hardware.process, **learning}, phases, _at_once(tokens, recompute))

    return count


def _decoder_copy(decoder: Decoder, hardware: Hardware, *, is_full: bool = False) -> float:
    """Return the bytes of weights that a sampler lays out anew: all on a processor, in float16 where they are float32
    and do not learn (`training.rl.products`); elsewhere those that it fuses."""
    queries = (decoder.heads + 2 * decoder.key_heads) * decoder.head_dim
    if hardware.device != "cpu":
        return hardware.dtype_bytes * decoder.layers * decoder.width * (queries + 2 * decoder.feed_forward)
    laid_out = decoder.layers * decoder.linear + decoder.vocabulary * decoder.width
    return (hardware.dtype_bytes if is_full else 2) * laid_out


def _sampling(decoder: Decoder, rows: int, prompt: int, answer: int, hardware: Hardware, prompts: int) -> Bytes:
    """Return what sampling takes: `prompts` different ones are read at once, each `prompt` tokens long."""
    size = hardware.dtype_bytes
    return {
        # A layer at a time it is copied, when rows have ended.
        "key-value cache": decoder.cache_bytes(rows * (prompt + answer), size) * (1 + 1 / decoder.layers),
        "activations": prompts * prompt * resource_estimate.token_bytes(decoder.width, decoder.feed_forward, size),
        "logits": rows * decoder.vocabulary * (size + 8),  # in the model's dtype, in float32, and weights of the draw
    }


def _sample(decoder: Decoder, config: Mapping[str, Any], hardware: Hardware) -> StageMemory:
    prompt = config.get("max_prompt_tokens", 256)  # of a dataset's prompts nobody knows before
    standing = {
        "process": hardware.process,
        "weights": hardware.dtype_bytes * decoder.parameters,
        "weights laid out to sample": _decoder_copy(decoder, hardware),
    }
    rows, answer = config["batch_size"], config["max_new_tokens"]
    sampling = _sampling(decoder, rows, prompt, answer, hardware, -(-rows // config["completions_per_prompt"]))
    return StageMemory(standing, {"sampling": sampling}, f"{rows} sequences at once")


def _ppo(decoder: Decoder, config: Mapping[str, Any], hardware: Hardware) -> StageMemory:
    """Return the memory of policy, reference, value head and a reward head on the same trunk."""
    is_full = config["adapters"] == "full"
    size = 4 if is_full and config.get("sharding") == "full" else hardware.dtype_bytes  # split, it computes in float32
    machine = Hardware(hardware.device, size, hardware.available)
    layers = max(1, math.ceil(decoder.layers / 3)) if config["adapters"] == "top" else decoder.layers
    processes, is_split = config.get("processes", 1), config.get("sharding") == "full"
    rows = math.ceil(config["batch_size"] / processes)
    length = config["max_prompt_tokens"] + config["max_new_tokens"]
    standing = {
        "process": hardware.process,
        **_trained(decoder, config, machine, layers),
        "reference": float(size * decoder.parameters) if is_full else 0.0,
        "weights laid out to sample": 0.0 if is_split else _decoder_copy(decoder, machine, is_full=is_full),
        # Each token's state where the policy begins to differ, and what the value head reads, twice as wide.
        "rollout": rows * decoder.width * (length * size + config["max_new_tokens"] * 8),
        "rollout processes": _actors(decoder, config, machine),
    }
    learnt_rows = math.ceil(config["batch_size"] / config["minibatches"] / processes)
    per_token = _per_token(decoder, layers, length, machine)
    output = 6 * decoder.vocabulary * decoder.width if is_full else 0
    tokens, drawn = _ppo_at_once(decoder, layers, length, machine)
    most = 1.5 * tokens if hardware.device == "cpu" else tokens  # see `batch_planner.even_batches`
    learnt, seen = min(most, learnt_rows * length), min(most, rows * length)
    drawn = min(rows, drawn)
    sampling = _sampling(decoder, drawn, config["max_prompt_tokens"], config["max_new_tokens"], machine, drawn)
    if is_split:  # each process samples by itself, and has all weights for so long
        sampling["weights gathered to sample"] = size * decoder.parameters
    phases = {
        "sampling": sampling,
        "scoring": {
            "activations": seen * _per_token(decoder, 1, length, machine),
            "states that the reward reads": rows * length * POOLED * decoder.width * size,
        },
        "updates": {"activations": learnt * per_token, "logits": 128 * 10 * decoder.vocabulary + output},
    }
    phases = _with_saving(phases, decoder, machine)
    return StageMemory(standing, phases, f"{tokens:,.0f} tokens at once in updates, {drawn} answers in sampling")


def _ppo_at_once(decoder: Decoder, layers: int, length: int, hardware: Hardware) -> tuple[int, int]:
    """Return the tokens that PPO forwards at once, and the answers that it samples at once: of available memory, where
    the recipe takes its shares of all."""
    on_cpu = hardware.device == "cpu"
    shape = decoder.shape(layers, hardware.dtype_bytes, packed=on_cpu)
    whole = decoder.shape(decoder.layers, hardware.dtype_bytes, packed=on_cpu)
    available = min(hardware.available, 2**50)  # infinite where nobody knows
    return (
        batch_planner.tokens_at_once(shape, longest=length, memory=available, on_cpu=on_cpu),
        batch_planner.rows_at_once(whole, length=length, memory=available, on_cpu=on_cpu),
    )


def _actors(decoder: Decoder, config: Mapping[str, Any], hardware: Hardware) -> float:
    """Return the bytes of all processes that draw beside the one that learns: each has the whole model."""
    count = config.get("actors", 0)
    if not count:
        return 0.0
    rows = math.ceil(config["batch_size"] / count)
    sampling = _sampling(decoder, rows, config["max_prompt_tokens"], config["max_new_tokens"], hardware, rows)
    laid_out = _decoder_copy(decoder, hardware, is_full=config["adapters"] == "full")
    weights = hardware.dtype_bytes * decoder.parameters + laid_out
    return count * (hardware.process + weights + sum(sampling.values()))


_KINDS: dict[str, Callable[[Decoder, Mapping[str, Any], Hardware], StageMemory]] = {
    "pretrain": _rows,
    "domain": _rows,
    "sft": _sft,
    "reward": _reward,
    "dpo": _preference(2),
    "kto": _preference(1),
    "sample": _sample,
    "ppo": _ppo,
}
