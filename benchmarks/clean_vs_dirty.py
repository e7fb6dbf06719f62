"""Quality rather than quantity: the same model, the same number of tokens, from a dirty corpus and from it cleaned.

    python -m benchmarks.clean_vs_dirty [TEXTS.txt …] [--tokens 1500000] [--size 1M] [--seeds 1] [--folder FOLDER]

Texts at hand (what every Python carries, and the files named) are cut into documents; a tenth is held out. The rest is
spoilt as the web is: documents stand there many times over, word for word or nearly; pages of menus, garbage and
another language lie between them; characters are broken. `--dirt` says how much: with 3, the good documents are 38 % of
the bytes; RefinedWeb kept a ninth of Common Crawl's pages (Penedo et al. 2023, 2306.01116).
A corpus run with every rule off makes the dirty corpus, one with its defaults the clean one. One tokenizer, learnt from
the dirty corpus, serves both, so that nothing but the texts differs. Each model then sees equally many tokens: what
the clean corpus lacks in texts it makes up in passes. Bits per byte are those of the same held-out documents, never
spoilt and chosen by no rule, by their origin: the rules take some good documents too, mostly of the terse sort.

All of it runs as recipes do, each as a process on a run directory.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import statistics
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import torch

from benchmarks.own_process import carry_out
from benchmarks.refusal import require_file
from training.core.run_directory import RunDirectory, RunSpec
from training.corpora.cleaning.text_hashes import digest
from training.corpora.reading import python_texts
from training.corpora.reading.text_files import cut
from training.recipes.common import loading

LONGEST, HELD_OUT, FEWEST_WORDS, CONTEXT = 3000, 0.1, 60, 256
RULES = (
    *("fix_unicode", "c4_boilerplate", "gopher_quality", "gopher_repetition"),
    *("private_data", "evaluation_texts", "exact_duplicates", "near_duplicates"),
)
MENU = "Home About Contact Login Register Search Cart Help Sitemap Imprint Next Previous Share Print Top"
FOREIGN = (
    "der die das und ist nicht ein eine mit von auf für sich auch werden haben wird sind oder aber nach wenn nur noch "
    "über einen durch unter gegen Straße Haus Wasser Jahr Zeit Mensch Stadt Leben Arbeit Kinder schön groß alt neu "
    "immer heute gestern morgen wieder zwischen während können müssen sollen gehen kommen sehen machen sagen"
)


def main() -> None:
    options = _options()
    for file in options.texts:
        require_file(file, "good texts")
    folder = Path(options.folder or tempfile.mkdtemp(prefix="clean-vs-dirty-"))
    good = documents(options.texts, options.documents)
    held_out = {text: origin for text, origin in good.items() if place(text) < HELD_OUT}
    kept = [text for text in good if place(text) >= HELD_OUT]
    spoilt = list(dirty(kept, random.Random(0), options.dirt))
    print(f"{len(good)} documents; {len(held_out)} of {size(list(held_out)) / 1e6:.2f} MB are held out.")
    tell_dirt(spoilt)
    write(folder / "files" / "dirty.jsonl", [text for _, text in spoilt])
    corpora = {
        "dirty": corpus_run(folder, "dirty", dict.fromkeys(RULES, False) | {"languages": ""}),
        "clean": corpus_run(folder, "clean", {}),
    }
    for name, run in corpora.items():
        print(f"{name}: {run['counts']['documents']} documents, {run['counts']['bytes'] / 1e6:.2f} MB")
    print("gone:", ", ".join(f"{rule} {count}" for rule, count in corpora["clean"]["counts"]["left_out"].items()))
    tokenizer = train_tokenizer(folder)
    found: dict[tuple[str, str], list[float]] = defaultdict(list)
    for seed in range(options.seeds):
        for name in corpora:
            model = pretrain(folder, name, tokenizer, list(held_out), options, seed)
            for origin, bits in bits_per_byte(model, held_out).items():
                found[name, origin].append(bits)
                print(f"seed {seed}, {name}, {origin}: {bits:.4f} bits per byte", flush=True)
    for origin in sorted({origin for _, origin in found}):
        before, after = (statistics.mean(found[name, origin]) for name in ("dirty", "clean"))
        print(f"{origin}: dirty {before:.3f}, clean {after:.3f} bits per byte, {after / before - 1:+.1%}")


def documents(files: list[Path], most: int | None) -> dict[str, str]:
    """Return text -> origin, each once: the first pieces of at most LONGEST characters that have some length."""
    found: dict[str, str] = {}
    whole = chain(
        (("python", text) for text in chain(python_texts.topics(), python_texts.docstrings())),
        ((file.stem, file.read_text(encoding="utf-8")) for file in files),
    )
    for origin, text in whole:
        for piece in cut(text, LONGEST):
            if len(found) == most:  # every file of the standard library would take seconds to read
                return found
            if len(piece.split()) >= FEWEST_WORDS:
                found[piece.strip()] = origin
    return found


def place(text: str) -> float:
    return int.from_bytes(digest(text)[:8], "big") / 2**64


def dirty(good: list[str], draw: random.Random, dirt: float) -> Iterator[tuple[str, str]]:
    """(sort, text) in a shuffled order: all that is good, and `dirt` of the rest."""
    made: list[tuple[str, str]] = [("good", broken(text) if draw.random() < 0.1 else text) for text in good]
    for text in draw.sample(good, len(good) // 12):  # a few documents stand there very often, as on the web
        made += [("copy", text)] * draw.choice((1, 2, 3, 12))
    for text in draw.sample(good, len(good) // 8):
        made += [("near copy", near_copy(text, draw)) for _ in range(draw.choice((1, 2, 4)))]
    for sort, make, share in (("menu", menu, 0.3), ("garbage", garbage, 0.1), ("other language", foreign, 0.3)):
        made += [(sort, make(draw)) for _ in range(int(len(good) * share * dirt))]
    draw.shuffle(made)
    yield from made


def near_copy(text: str, draw: random.Random) -> str:
    words = text.split(" ")
    for _ in range(max(len(words) // 100, 1)):
        words[draw.randrange(len(words))] = draw.choice(MENU.split())
    return " ".join(words)


def broken(text: str) -> str:
    """Curly quotation marks, decoded wrongly, as between two programs that disagree."""
    return text.replace('"', "”").encode().decode("cp1252", "replace")


def menu(draw: random.Random) -> str:
    lines = [" | ".join(draw.choices(MENU.split(), k=draw.randint(3, 9))) for _ in range(draw.randint(8, 25))]
    extra = ("This site uses cookies.", "Please enable JavaScript.", "Read our privacy policy.", "Read more ...")
    return "\n".join([*lines, *draw.choices(extra, k=5)])


def garbage(draw: random.Random) -> str:
    sorts = ("0123456789abcdef ", "!#$%&*+-/<=>?@^_|~ ", "0123456789.,; \n", "qwertyuiopasdfghjklzxcvbnm ")
    return "".join(draw.choices(draw.choice(sorts), k=draw.randint(500, 2500)))


def foreign(draw: random.Random) -> str:
    return " ".join(
        " ".join(draw.choices(FOREIGN.split(), k=9)).capitalize() + "." for _ in range(draw.randint(12, 40))
    )


def tell_dirt(spoilt: list[tuple[str, str]]) -> None:
    sizes: Counter[str] = Counter()
    for sort, text in spoilt:
        sizes[sort] += len(text.encode())
    total = sizes.total()
    print("the dirty corpus, by bytes:", ", ".join(f"{sort} {n / total:.0%}" for sort, n in sizes.most_common()))


def size(texts: list[str]) -> int:
    return sum(len(text.encode()) for text in texts)


def write(path: Path, texts: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = (json.dumps({"text": text, "source": "benchmark"}, ensure_ascii=False) + "\n" for text in texts)
    path.write_text("".join(lines), encoding="utf-8")


def corpus_run(folder: Path, name: str, config: dict[str, Any]) -> dict[str, Any]:
    run = RunDirectory(folder / f"corpus-{name}")
    given = {"sources": "dirty.jsonl", "held_out": 0.001} | config
    run.create(RunSpec("corpus", given), {"folders": iter([{"folder": str(folder / "files")}])})
    return carry_out(run, "corpus")


def train_tokenizer(folder: Path) -> Path:
    run = RunDirectory(folder / "tokenizer")
    run.create(RunSpec("tokenizer", {"vocab_size": 2048}))
    bring_rows(folder / "corpus-dirty" / "dataset", run)
    fit = carry_out(run, "tokenizer")
    print(f"tokenizer: {fit['bytes_per_token']:.2f} bytes a token")
    return run.model


def pretrain(
    folder: Path, name: str, tokenizer: Path, held_out: list[str], options: argparse.Namespace, seed: int
) -> Path:
    run = RunDirectory(folder / f"pretrain-{name}-{seed}")
    config = {
        "size": options.size, "epochs": 1000.0, "max_tokens": options.tokens, "context_length": CONTEXT,
        "batch_size": 16, "validate_every": 10**6, "sample_every": 10**6, "checkpoint_every": 10**6,
    }  # fmt: skip
    run.create(RunSpec("pretrain", config, seed=seed, parent=str(tokenizer)))
    bring_rows(folder / f"corpus-{name}" / "dataset", run)
    (run.path / "data" / "validation.jsonl").unlink(missing_ok=True)
    write(run.path / "data" / "validation.jsonl", held_out)
    carry_out(run, "pretrain")
    return run.model


def bits_per_byte(folder: Path, held_out: dict[str, str]) -> dict[str, float]:
    """By origin, each document in pieces of CONTEXT tokens of which the first is only read."""
    model, tokenizer = loading.load_policy(folder, torch.float32)
    bits: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    with torch.inference_mode():
        for text, origin in held_out.items():
            ids = [tokenizer.eos_token_id, *tokenizer(text)["input_ids"]]
            for start in range(0, len(ids) - 1, CONTEXT - 1):
                piece = torch.tensor([ids[start : start + CONTEXT]])
                logprobs = model(piece).logits[0, :-1].log_softmax(-1)
                bits[origin] -= logprobs.gather(1, piece[0, 1:, None]).sum().item() / math.log(2)
            sizes[origin] += len(text.encode())
    bits["all"], sizes["all"] = sum(bits.values()), sum(sizes.values())
    return {origin: bits[origin] / sizes[origin] for origin in sizes}


def bring_rows(source: Path, run: RunDirectory) -> None:
    for file in source.glob("*.jsonl"):
        os.link(file, run.path / "data" / file.name)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("texts", nargs="*", type=Path, help="more good texts, in UTF-8")
    parser.add_argument("--documents", type=int, help="good ones, at most (default: all)")
    parser.add_argument("--tokens", type=int, default=1_500_000, help="that each model sees")
    parser.add_argument("--dirt", type=float, default=3.0, help="pages of dirt for each good one, about")
    parser.add_argument("--size", default="1M")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--folder", help="where the run directories are kept (default: a temporary one)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
