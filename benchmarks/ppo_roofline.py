"""The least time that PPO's arithmetic and its reading can take on this machine, and where the rest goes.

Counted are products with weights, on valid tokens alone: sampling, the reference's forward, and forward and backward of
every epoch. Two operations a weight and token forward, as many backward through frozen weights, twice as many where
weights learn. While answers are drawn, each step reads every weight once, in two bytes: where the memory takes longer
for that than the processor for the products, the memory counts. Attention, norms, softmax and Adam are the overhead.
"""

from __future__ import annotations

import functools
import json
import math
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.ppo_work import EPOCHS, Work, reward_head

RANK = 16
READ_MB = 512  # more than a processor's caches hold
KINDS = {  # by the name of torch's operation; what is not named is "elementwise and copies"
    "matrix products": ("aten::mm", "aten::addmm", "aten::addmm_", "mkldnn::_linear_pointwise", "aten::linear"),
    "attention's products": ("aten::bmm", "aten::baddbmm", "aten::_scaled_dot_product_flash_attention_for_cpu"),
    "softmax": ("aten::_softmax", "aten::_softmax_backward_data", "aten::softmax"),
}


@dataclass(frozen=True)
class Machine:
    """`rate`: operations a second of a product of many rows. `reading`: bytes a second from memory."""

    rate: float
    reading: float


@dataclass(frozen=True)
class Least:
    """What the work needs at least, of all episodes together: operations while drawing new tokens and in all else, and
    bytes of weights read while drawing."""

    drawing: float
    rest: float
    weights_read: float

    def seconds(self, machine: Machine) -> float:
        return max(self.drawing / machine.rate, self.weights_read / machine.reading) + self.rest / machine.rate

    def seconds_of_products(self, machine: Machine) -> float:
        return (self.drawing + self.rest) / machine.rate


def least(work: Work, adapters: str, prompt_tokens: float, new_tokens: float) -> Least:
    """`prompt_tokens` and `new_tokens`: of all episodes together."""
    config = json.loads((Path(work.model) / "config.json").read_text())
    hidden, inner, depth = config["hidden_size"], config["intermediate_size"], config["num_hidden_layers"]
    kept = hidden * config["num_key_value_heads"] // config["num_attention_heads"]
    shapes = [(hidden, hidden), (hidden, kept), (hidden, kept), (hidden, hidden), *[(hidden, inner)] * 3]
    layers, output = depth * sum(a * b for a, b in shapes), hidden * config["vocab_size"]
    rank = depth * RANK * sum(a + b for a, b in shapes)
    tokens, head = prompt_tokens + new_tokens, new_tokens * 2 * output
    forward = 2 * layers * tokens
    upper = math.ceil(depth / 3) / depth if adapters == "top" else 1.0
    backward = 2 * forward if adapters == "full" else forward + 6 * rank * tokens  # the adapters' forward is in it
    head_epoch = (3 if adapters == "full" else 2) * head
    drawing = 2 * layers * new_tokens + head
    # The reference's forward begins above what both share: hidden states below are kept while answers are drawn.
    scoring = upper * forward + head
    updates = EPOCHS * (upper * (forward + backward) + head_epoch)
    steps = new_tokens / work.batch  # no step draws more than one token of each episode of a batch
    return Least(drawing, 2 * layers * prompt_tokens + scoring + updates, steps * 2 * (layers + output))


@functools.cache
def machine_of(dtype_name: str) -> Machine:
    """Measure this machine, once in a process."""
    return Machine(matrix_rate(dtype_name), reading_rate())


def matrix_rate(dtype_name: str, seconds: float = 3.0) -> float:
    """Operations a second of a product shaped like the work's, the best of many."""
    import torch

    dtype = getattr(torch, dtype_name)
    best = 0.0
    for rows, width, out in ((1200, 576, 1536), (1200, 1536, 576), (2048, 2048, 2048)):
        x, weight = torch.randn(rows, width).to(dtype), torch.randn(out, width).to(dtype)
        multiply = functools.partial(torch.nn.functional.linear, x, weight)
        best = max(best, 2 * rows * width * out / _least_seconds(multiply, seconds / 3))
    return best


@functools.cache
def reading_rate(seconds: float = 3.0) -> float:
    """Return bytes a second that a sum over more than fits into the caches reads, the best of many."""
    import torch

    weights = torch.ones(READ_MB << 20, dtype=torch.uint8).view(torch.float32)
    return (READ_MB << 20) / _least_seconds(weights.sum, seconds)


def _least_seconds(call: Callable[[], object], seconds: float) -> float:
    """Return what one call takes, of as many as fit into so many seconds, and one at least."""
    least, until = math.inf, time.perf_counter() + seconds
    while least == math.inf or time.perf_counter() < until:
        started = time.perf_counter()
        call()
        least = min(least, time.perf_counter() - started)
    return least


def prompt_tokens(work: Work) -> int:
    """Of all batches of prompts together; what several of a batch begin with counts once."""
    from training.recipes.common import loading

    tokenizer = loading.load_tokenizer(work.model)
    prompts = [loading.encode_prompt(tokenizer, [{"role": "user", "content": p}], 256) for p in work.prompts]
    batches = (prompts[at : at + work.batch] for at in range(0, len(prompts), work.batch))
    return sum(len({tuple(p[:end]) for p in batch for end in range(1, len(p) + 1)}) for batch in batches)


def profile(work: Work, adapters: str) -> dict[str, dict[str, float]]:
    """Seconds of one step by stage and by kind of operation."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as profiler

    from training.core.run_directory import RunDirectory, RunSpec
    from training.recipes.common.entry import config_of
    from training.recipes.ppo.__main__ import measure
    from training.recipes.ppo.rollouts import PPO
    from training.recipes.ppo.state import calibrate
    from training.recipes.ppo.update import optimiser_for, update

    config = {
        "adapters": adapters, "steps": 4, "batch_size": work.batch, "max_new_tokens": work.new_tokens,
        "temperature": work.temperature, "minibatches": 1, "calibration_episodes": work.batch, "sample_prompts": 0,
    }  # fmt: skip
    found: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        run = RunDirectory(Path(scratch) / "run")
        reward = reward_head(Path(work.model), Path(scratch), shared=True)
        spec = RunSpec("ppo", config, parent=work.model, reward_model=str(reward))
        rows = ({"id": i, "messages": [{"role": "user", "content": text}]} for i, text in enumerate(work.prompts))
        run.create(spec, {"prompts": rows})
        ppo = PPO(run, spec, config_of(spec))
        optimiser = optimiser_for(ppo)
        state = calibrate(ppo)
        kept: dict[str, Any] = {}

        def collect() -> None:
            kept["episodes"] = ppo.collect(ppo.prompt_order(0), ppo.seeds("rollout", 0, count=work.batch))
            kept["measured"] = measure(ppo, state, kept["episodes"])

        stages = {
            "sampling and scoring": collect,
            "updates": lambda: update(ppo, optimiser, state, kept["episodes"], kept["measured"], 0),
        }
        for name, stage in stages.items():
            started = time.perf_counter()
            with profiler(activities=[ProfilerActivity.CPU]) as seen:
                stage()
                wall = time.perf_counter() - started
            found[name] = _by_kind(seen, wall)
    return found


def _by_kind(seen: Any, wall: float) -> dict[str, float]:
    times: Counter[str] = Counter()
    for event in seen.key_averages():
        if event.key.startswith(("aten::", "mkldnn::")):
            kind = next((k for k, names in KINDS.items() if event.key in names), "elementwise and copies")
            times[kind] += event.self_cpu_time_total / 1e6
    times["Python and the rest"] = wall - sum(times.values())
    return {kind: round(seconds, 3) for kind, seconds in times.most_common()}
