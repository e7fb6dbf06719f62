"""SFT, reward model and DPO against TRL's trainers: `python -m benchmarks.train_vs_trl MODEL [PAIRS] [--repeats 3]`

MODEL is a model folder; PAIRS hh-rlhf transcripts (`chosen`, `rejected`; JSONL, gzipped or not), else $SHARED_DATA's.

SFT: about 18,907 tokens of chosen answers to their prompts, LoRA r=16 on all linear layers with float32 adapters over a
bfloat16 model, batches of 8, one epoch, rate 2e-4. Reward model: pairs of the same file of which one answer asks
something and the other does not (it wins: a preference that so few pairs can teach), about 37,800 tokens. DPO: half as
many of these pairs, at a rate of 5e-5 and beta 0.1, with LoRA as in SFT; what the reference costs is timed. TRL's
trainers stand as they come, with what makes them run on a processor; `--all` adds their own options. Contestants take
turns, each in a process of its own. Printed: medians as a Markdown table, then JSON. Tokens are those of the examples,
padding and what is computed twice not counted; loading and saving are not timed; the loss at the end is on the same
held-out examples, for SFT of the saved model by transformers' own forward in float32.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import trl_contestants as contestants
from benchmarks.hh_rlhf import transcript
from benchmarks.own_process import run_module
from benchmarks.refusal import refuse, require_model

NAME = "hh-rlhf-harmless-base-test.jsonl.gz"
TOKENS = 18_907
PARTS = ("sft", "reward", "dpo", "profile")
MEASURED = {"sft": "held_out_loss", "dpo": "held_out_margins"}  # of the saved model; reward models measure themselves
Figures = dict[str, float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("pairs", type=Path, nargs="?")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--tokens", type=int, default=TOKENS, help="of SFT; the reward model takes twice as many")
    parser.add_argument("--held-out", type=int, default=64, help="rows that the loss at the end is measured on")
    parser.add_argument("--all", action="store_true", help="TRL's own options too")
    parser.add_argument("--only", nargs="+", help="contestants by name")
    arguments = parser.parse_args()
    require_model(arguments.model)
    pairs = arguments.pairs or Path(os.environ.get("SHARED_DATA", "../shared/data")) / NAME
    if not pairs.is_file():
        refuse(f"There are no pairs at {pairs}: name the file, or its folder in SHARED_DATA.")
    transcripts = read(pairs)
    model = str(arguments.model.resolve())
    report: dict[str, Any] = {}
    sft = sft_rows(transcripts, model, arguments.tokens, arguments.held_out)
    with tempfile.TemporaryDirectory() as scratch:
        run = Runner(Path(scratch), model)
        for part in arguments.parts:
            if part == "profile":
                report[part] = profile(run, sft[0], arguments.only)
                continue
            size = arguments.tokens * (2 if part == "reward" else 1)
            rows, held_out, tokens = sft if part == "sft" else pair_rows(transcripts, model, size, arguments.held_out)
            names = contestants_of(part, everything=arguments.all, only=arguments.only)
            report[part] = turns(run, part, names, arguments.repeats, rows, held_out, tokens)
            print(f"\n{part}: {len(rows)} rows, {tokens} tokens, {len(held_out)} held out\n\n{table(report[part])}\n")
        if "sft" in report:
            report["roofline"] = roofline(run, report["sft"])
    print(json.dumps(report))


class Runner:
    """Starts contestants, one at a time."""

    def __init__(self, scratch: Path, model: str) -> None:
        self.scratch, self.model, self.count = scratch, model, 0

    def __call__(self, work: str, **given: Any) -> Any:
        self.count += 1
        folder = self.scratch / str(self.count)
        folder.mkdir()
        path = folder / "work.json"
        path.write_text(json.dumps({"work": work, "model": self.model, "folder": str(folder / "run"), **given}))
        log = folder / "log.txt"
        if run_module("benchmarks.trl_contestants", path, log, HF_HUB_OFFLINE="1") != 0:
            sys.exit(f"{work} {given.get('contestant', '')} failed:\n{log.read_text(encoding='utf-8')[-3000:]}")
        return json.loads((folder / "run" / "figures.json").read_text())

    @property
    def latest_model(self) -> str:
        return str(self.scratch / str(self.count) / "run" / "model")


def turns(
    run: Runner, part: str, names: list[str], repeats: int, rows: list[Any], held_out: list[Any], tokens: int
) -> dict[str, Figures]:
    """Medians by contestant."""
    found: dict[str, list[Figures]] = {name: [] for name in names}
    for _ in range(repeats):
        for name, results in found.items():
            figures = run(part, contestant=name, rows=rows, held_out=held_out)
            if part in MEASURED:
                figures |= run(MEASURED[part], trained=run.latest_model, held_out=held_out)
            results.append(figures | {"tokens_per_second": tokens / figures["seconds"]})
            print(part, name, {k: round(v, 3) for k, v in results[-1].items()}, file=sys.stderr, flush=True)
    return {
        name: {key: statistics.median(r[key] for r in results) for key in results[0]} for name, results in found.items()
    }


def contestants_of(part: str, *, everything: bool, only: list[str] | None) -> list[str]:
    theirs, ours = {
        "sft": (contestants.TRL_SFT, contestants.OURS_SFT),
        "reward": (contestants.TRL_REWARD, contestants.OURS_REWARD),
        "dpo": (contestants.TRL_DPO, contestants.OURS_DPO),
    }[part]
    names = [*(theirs if everything or only else ["trl"]), *ours]
    return [name for name in names if not only or name in only]


def read(path: Path) -> list[dict[str, Any]]:
    open_text: Any = gzip.open if path.suffix == ".gz" else open
    found = []
    with open_text(path, "rt", encoding="utf-8") as file:
        for line in file:
            pair = json.loads(line)
            (prompt, chosen), (other, rejected) = (transcript(pair[side]) for side in ("chosen", "rejected"))
            if prompt == other and chosen and rejected:
                found.append({"prompt": prompt, "chosen": chosen, "rejected": rejected})
    return found


def sft_rows(pairs: list[dict[str, Any]], model: str, tokens: int, held: int) -> tuple[list[Any], list[Any], int]:
    """(examples of about `tokens` tokens, held-out examples, tokens): prompts of both apart, none cut."""
    length = measure_of(model)
    rows = [{"prompt": pair["prompt"], "completion": pair["chosen"]} for pair in pairs]
    held_out, rest = rows[:held], rows[held:]
    return _up_to(rest, tokens, lambda row: [length(row["prompt"], row["completion"])], held_out)


def pair_rows(pairs: list[dict[str, Any]], model: str, tokens: int, held: int) -> tuple[list[Any], list[Any], int]:
    length = measure_of(model)
    asking = []
    for pair in pairs:
        asks = ["?" in pair[side] for side in contestants.SIDES]
        if asks[0] != asks[1]:
            first, second = (pair["chosen"], pair["rejected"]) if asks[0] else (pair["rejected"], pair["chosen"])
            asking.append({"prompt": pair["prompt"], "chosen": first, "rejected": second})
    held_out, rest = asking[:held], asking[held:]
    lengths_of = lambda pair: [length(pair["prompt"], pair[side]) for side in contestants.SIDES]  # noqa: E731
    return _up_to(rest, tokens, lengths_of, held_out)


def _up_to(rows: list[Any], tokens: int, lengths_of: Any, held_out: list[Any]) -> tuple[list[Any], list[Any], int]:
    known = {json.dumps(row["prompt"]) for row in held_out}
    taken, total = [], 0
    for row in rows:
        lengths = lengths_of(row)
        if max(lengths) <= contestants.MAX_LENGTH and json.dumps(row["prompt"]) not in known:
            taken.append(row)
            total += sum(lengths)
        if total >= tokens:
            break
    return taken, held_out, total


def measure_of(model: str) -> Any:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)

    def length(prompt: list[dict[str, str]], answer: str) -> int:
        ids = tokenizer.apply_chat_template(prompt, add_generation_prompt=True, tokenize=True, return_dict=False)
        return len(ids) + len(tokenizer(answer, add_special_tokens=False)["input_ids"]) + 1

    return length


def table(found: dict[str, Figures]) -> str:
    """Markdown; ratios are to TRL as it comes."""
    peer = found.get("trl")
    accuracy = any("held_out_accuracy" in figures for figures in found.values())
    head = ["", "tokens/s", "times TRL's", "peak GB", "of TRL's", "seconds", "held-out loss"] + ["accuracy"] * accuracy
    lines = [head, ["---"] * len(head)]
    for name, f in found.items():
        faster = f"{f['tokens_per_second'] / peer['tokens_per_second']:.2f}" if peer else ""
        smaller = f"{f['peak_gb'] / peer['peak_gb']:.2f}" if peer else ""
        line = [name, f"{f['tokens_per_second']:.0f}", faster, f"{f['peak_gb']:.2f}", smaller, f"{f['seconds']:.1f}"]
        line += [f"{f['held_out_loss']:.3f}"] + ([f"{f['held_out_accuracy']:.3f}"] if accuracy else [])
        lines.append(line)
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def roofline(run: Runner, found: dict[str, Figures]) -> dict[str, Figures]:
    """The share of the machine's matrix rate that each reaches, counting the operations that the work needs.

    A token needs 2 operations a weight forward and 2 backward in every layer that learns, and the output layer as much
    where an answer stands; what is frozen below, forward alone. Adapters and attention add a few per cent, not counted.
    """
    flops = run("matrix_rate")["flops"]
    config = json.loads((Path(run.model) / "config.json").read_text())
    width, inner, layers = config["hidden_size"], config["intermediate_size"], config["num_hidden_layers"]
    head = config.get("head_dim") or width // config["num_attention_heads"]
    keys = config["num_key_value_heads"] * head
    layer = 2 * width * config["num_attention_heads"] * head + 2 * width * keys + 3 * width * inner
    whole, top = 4 * layers * layer, (4 * (layers // 3) + 2 * (layers - layers // 3)) * layer
    shares = {}
    for name, figures in found.items():
        needed = (top if name.endswith("top") else whole) * figures["tokens_per_second"]
        shares[name] = {"matrix_rate_gflops": flops / 1e9, "share": needed / flops}
    listed = ", ".join(f"{name} {share['share']:.0%}" for name, share in shares.items())
    print(f"Share of the matrix rate, {flops / 1e9:.0f} GFLOP/s, output layer not counted: {listed}")
    return shares


def profile(run: Runner, rows: list[Any], only: list[str] | None) -> dict[str, Figures]:
    names = [name for name in contestants.OURS_SFT if not only or name in only]
    found = {name: run("profile", contestant=name, rows=rows) for name in names}
    print("\n| where a step of SFT spends its time | " + " | ".join(found) + " |\n|---|" + "---|" * len(found))
    for kind in dict.fromkeys(kind for figures in found.values() for kind in figures):
        print(f"| {kind} | " + " | ".join(f"{f.get(kind, 0):.0%}" for f in found.values()) + " |")
    return found


if __name__ == "__main__":
    main()
