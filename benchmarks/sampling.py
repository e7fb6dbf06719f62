"""How fast answers are sampled: `python -m benchmarks.sampling MODEL [--old CHECKOUT] --out FOLDER`.

MODEL is a model folder. Prompts are short questions in its chat template, two answers each at temperature 1 and
`--top-p`, ended by the model's own end tokens or after `--new-tokens`. Contestants take turns, each in a process of its
own: transformers' `generate`, batch after batch; its continuous batching, when it is named; ours; ours as CHECKOUT has
it, another folder of this repository; and llama.cpp's server with float16 and 8-bit weights, where `--llama-python`
names an interpreter that has it (`benchmarks.llama_cpp`; MODEL is then the bundled one, imported). For each number of
rows that are decoded at once: tokens that belong to answers, a second, from token ids to token ids, reading of prompts
in it. Loading is not in it, nor the first answers of a process.

The dtype is the machine's, or ASSAY_DTYPE. A plain machine can be had on a better one:

    ASSAY_DTYPE=float32 ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 MKL_ENABLE_INSTRUCTIONS=AVX2 \
        FBGEMM_ENABLE_INSTRUCTIONS=AVX2 python -m benchmarks.sampling ...

`--kl` also compares what ours draws from with the model's own logits, token by token, on answers of ours. Each
measurement is written to FOLDER/results.json as it ends, and a call goes on where the last one was cut off.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks import llama_cpp
from benchmarks.own_process import environment_with
from benchmarks.ppo_work import NOUNS
from benchmarks.refusal import refuse, require_model
from training import recipes as recipes  # sets how threads wait, before torch loads

ROOT = Path(__file__).resolve().parents[1]
SEED = 7


def main() -> None:
    arguments = _arguments()
    require_model(arguments.model)
    if arguments.one:
        print(json.dumps(_measure(arguments)))
        return
    if arguments.old and not (arguments.old / "training" / "rl" / "sampler.py").is_file():
        refuse(f"There is no checkout of this repository in {arguments.old}: make one with git worktree add.")
    if arguments.llama_python and not arguments.llama_python.is_file():
        refuse(f"There is no Python at {arguments.llama_python}: name one that has xllamacpp, or leave it out.")
    arguments.out.mkdir(parents=True, exist_ok=True)
    file = arguments.out / "results.json"
    found: dict[str, Any] = json.loads(file.read_text()) if file.is_file() else {}
    left_out = {"before": not arguments.old, **dict.fromkeys(LLAMA, not arguments.llama_python)}
    names = [name for name in arguments.only if not left_out.get(name)]
    for repeat in range(arguments.repeats):
        for rows in arguments.rows:
            for name in names:
                runs = found.setdefault(f"{name}, {rows}", [])
                if len(runs) > repeat:
                    continue
                runs.append(_run(arguments, name, rows))
                file.write_text(json.dumps(found, indent=1))
                print(name, rows, runs[-1], file=sys.stderr)
    if arguments.kl and "kl" not in found:
        found["kl"] = _run(arguments, "kl", 16)
        file.write_text(json.dumps(found, indent=1))
    report = table(found, arguments.rows, names)
    (arguments.out / "table.md").write_text(report)
    print(report)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--out", type=Path, default=Path("sampling"))
    parser.add_argument("--old", type=Path, help="another checkout, for `before`")
    parser.add_argument("--llama-python", type=Path, help="an interpreter that has xllamacpp")
    parser.add_argument("--rows", nargs="+", type=int, default=[1, 16, 64, 256])
    parser.add_argument("--new-tokens", type=int, default=64)
    parser.add_argument("--top-p", type=float, default=1.0)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", nargs="+", choices=[*CONTESTANTS, *LLAMA], default=DEFAULT, metavar="CONTESTANT")
    parser.add_argument("--kl", action="store_true")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    return parser.parse_args()


def _run(arguments: argparse.Namespace, name: str, rows: int) -> dict[str, Any]:
    """Measure once, in a new process."""
    if name in LLAMA:
        return {**_llama(arguments, LLAMA[name], rows), "load": round(os.getloadavg()[0], 1)}
    root = arguments.old if name == "before" else ROOT
    line = [sys.executable, "-P", str(ROOT / "benchmarks" / "sampling.py"), str(arguments.model.resolve())]
    line += ["--one", name, "--rows", str(rows), "--new-tokens", str(arguments.new_tokens)]
    line += ["--top-p", str(arguments.top_p)]
    # What `before` imports comes from the old checkout; this file and what it needs beside it do not change the work.
    paths = os.pathsep.join([str(root.resolve()), str(ROOT)])
    ended = subprocess.run(line, capture_output=True, text=True, env=environment_with(PYTHONPATH=paths))
    if ended.returncode:
        refuse(f"{name} with {rows} rows ended with: {ended.stderr.strip().splitlines()[-1]}")
    return {**json.loads(ended.stdout.splitlines()[-1]), "load": round(os.getloadavg()[0], 1)}


def _llama(arguments: argparse.Namespace, kind: str, rows: int) -> dict[str, Any]:
    from training.core.bundled_model import bundled_gguf
    from training.recipes.common import loading

    weights = arguments.out / f"{kind}.gguf"
    if not weights.is_file():
        llama_cpp.write_as(bundled_gguf(), kind, weights)
    tokenizer = loading.load_tokenizer(arguments.model)
    prompts = [loading.encode_prompt(tokenizer, messages, 256) for messages in questions(answers_of(rows))]
    asked = {"rows": rows, "prompts": prompts, "new_tokens": arguments.new_tokens, "top_p": arguments.top_p}
    return llama_cpp.measured(arguments.llama_python, {"model": str(weights), **asked})


def answers_of(rows: int) -> int:
    """Return how many answers are asked for: the rows are filled twice, as far as that does not take minutes."""
    return max(2, min(2 * rows, 256))


def questions(count: int) -> list[list[dict[str, str]]]:
    """Return the messages of so many answers' prompts: each question twice."""
    asked = [f"Tell me about {first} and {second}." for first in NOUNS for second in NOUNS if first != second]
    return [[{"role": "user", "content": asked[i // 2]}] for i in range(count)]


def _measure(arguments: argparse.Namespace) -> dict[str, Any]:
    import torch

    from training.recipes.common import loading

    torch.manual_seed(SEED)
    model, tokenizer = loading.load_policy(arguments.model)
    model.requires_grad_(False)
    rows, count = arguments.rows[0], answers_of(arguments.rows[0])
    prompts = [loading.encode_prompt(tokenizer, messages, 256) for messages in questions(count)]
    ends = loading.eos_token_ids(model, tokenizer)
    if arguments.one == "kl":
        return _mismatch(model, prompts, ends, tokenizer.pad_token_id, arguments.new_tokens)
    contestant = CONTESTANTS[arguments.one](model, tokenizer, ends, arguments.top_p)
    contestant(prompts[:2], 1, 4)
    started = time.perf_counter()
    tokens = contestant(prompts, rows, arguments.new_tokens)
    seconds = time.perf_counter() - started
    return {"tokens": tokens, "seconds": seconds, "rate": tokens / seconds}


def _ours(model: Any, tokenizer: Any, ends: list[int], top_p: float) -> Any:
    from training.rl.decode import decoder_for
    from training.rl.sampler import Sampling, sample

    decoder = decoder_for(model)

    def run(prompts: list[list[int]], rows: int, new_tokens: int) -> int:
        options = {"end_ids": ends, "pad_id": tokenizer.pad_token_id, "device": model.device}
        seeds = [SEED + i for i in range(len(prompts))]
        sampling = Sampling(new_tokens, top_p=top_p)
        return int(sample(decoder, prompts, seeds, sampling, most_rows=rows, **options).lengths.sum())

    return run


def _before(model: Any, tokenizer: Any, ends: list[int], top_p: float) -> Any:
    from training.rl.decode import decoder_for
    from training.rl.sampler import Sampling, sample

    decoder = decoder_for(model)

    def run(prompts: list[list[int]], rows: int, new_tokens: int) -> int:
        options = {"end_ids": ends, "pad_id": tokenizer.pad_token_id}
        total = 0
        for start in range(0, len(prompts), rows):
            batch = prompts[start : start + rows]
            seeds = [SEED + start + i for i in range(len(batch))]
            total += int(sample(decoder, batch, seeds, Sampling(new_tokens, top_p=top_p), **options).lengths.sum())
        return total

    return run


def _generate(model: Any, tokenizer: Any, ends: list[int], top_p: float) -> Any:
    import torch

    from training.rl.sampler import left_pad

    @torch.no_grad()
    def run(prompts: list[list[int]], rows: int, new_tokens: int) -> int:
        total = 0
        for start in range(0, len(prompts), rows):
            ids, mask = left_pad(prompts[start : start + rows], tokenizer.pad_token_id, model.device)
            out = model.generate(
                ids, attention_mask=mask, max_new_tokens=new_tokens, do_sample=True, temperature=1.0, top_k=0,
                top_p=top_p, eos_token_id=ends, pad_token_id=tokenizer.pad_token_id,
            )[:, ids.shape[1] :]  # fmt: skip
            total += sum(_length(row, ends) for row in out.tolist())
        return total

    return run


def _continuous(model: Any, tokenizer: Any, ends: list[int], top_p: float) -> Any:
    from transformers import GenerationConfig

    def run(prompts: list[list[int]], rows: int, new_tokens: int) -> int:
        config = GenerationConfig(
            max_new_tokens=new_tokens, do_sample=True, top_k=0, top_p=top_p, eos_token_id=ends,
            pad_token_id=tokenizer.pad_token_id,
        )  # fmt: skip
        out = model.generate_batch(inputs=prompts, generation_config=config, progress_bar=False)
        return sum(_length(result.generated_tokens, ends) for result in out.values())

    return run


CONTESTANTS = {"generate": _generate, "continuous batching": _continuous, "before": _before, "ours": _ours}


LLAMA = {f"llama.cpp, {kind}": kind for kind in llama_cpp.TYPES}
DEFAULT = ["generate", *LLAMA, "before", "ours"]  # continuous batching takes minutes on a processor


def _length(tokens: list[int], ends: list[int]) -> int:
    """Return the tokens of an answer, its end token among them."""
    return next((i + 1 for i, token in enumerate(tokens) if token in ends), len(tokens))


def _mismatch(model: Any, prompts: list[list[int]], ends: list[int], pad: int, new_tokens: int) -> dict[str, Any]:
    """Return KL(sampler || model) a drawn token in nats, the whole distributions compared, and the largest."""
    import torch

    from training.rl.decode import LlamaDecoder
    from training.rl.sampler import Sampling, sample

    decoder = LlamaDecoder(model)
    done = sample(decoder, prompts, [SEED + i for i in range(len(prompts))], Sampling(new_tokens),
                  end_ids=ends, pad_id=pad)  # fmt: skip
    kls = []
    for prompt, row, length in zip(prompts, done.tokens.tolist(), done.lengths.tolist(), strict=True):
        decoder.open(1, len(prompt) + length)
        logits = [decoder.admit(torch.tensor([0]), [prompt], torch.tensor([0]))]
        logits += [decoder.step(torch.tensor([token])) for token in row[: length - 1]]
        with torch.no_grad():
            own = model(torch.tensor([prompt + row[: length - 1]])).logits[0, len(prompt) - 1 :]
        p, q = torch.cat(logits).double().log_softmax(-1), own.double().log_softmax(-1)
        kls.append((p.exp() * (p - q)).sum(-1))
    kl = torch.cat(kls)
    return {"kl": float(kl.mean()), "largest": float(kl.max()), "tokens": len(kl)}


def table(found: dict[str, Any], rows: list[int], names: list[str]) -> str:
    head = ["tokens a second, medians", *(f"{n} rows" for n in rows)]
    lines = [head, ["---"] * len(head)]
    for name in names:
        cells = []
        for n in rows:
            rates = sorted(run["rate"] for run in found.get(f"{name}, {n}", []))
            cells.append(f"{statistics.median(rates):.0f} ({rates[0]:.0f} to {rates[-1]:.0f})" if rates else "")
        lines.append([name, *cells])
    for peer in names[:-1]:
        both = [(found.get(f"{peer}, {n}"), found.get(f"ours, {n}")) for n in rows]
        ratios = [f"{_median(ours) / _median(theirs):.2f}" if theirs and ours else "" for theirs, ours in both]
        lines.append([f"ours / {peer}", *ratios])
    report = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    if "kl" in found:
        kl = found["kl"]
        report += f"\n\nKL a token from the model's own logits: {kl['kl']:.2g} nats, at most {kl['largest']:.2g}, "
        report += f"of {kl['tokens']} tokens."
    return report


def _median(runs: list[dict[str, float]]) -> float:
    return statistics.median(run["rate"] for run in runs)


if __name__ == "__main__":
    main()
