"""What lm-evaluation-harness says of SmolLM2-135M-Instruct by itself: choices_blimp.json, perplexity_wikitext.json.

    python tests/support/golden/from_lm_eval.py MODEL DATA [FILE or wikitext ...]

In float32, with the harness's own model class, loop, windows and sums; nothing of this project is imported. MODEL is
the folder of SmolLM2-135M-Instruct; DATA holds blimp-*.jsonl, the first pairs of whose files are kept one by one, and
wikitext-2-valid.txt, of which the first pages are read, as they stand and parted at their titles. Takes some minutes.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import lm_eval
from lm_eval.api.instance import Instance
from lm_eval.api.metrics import bits_per_byte, weighted_perplexity
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

HERE = Path(__file__).resolve().parent
PAIRS, PAGES, LENGTH = 100, 2, 512
PAGE = re.compile(r"(?m)^(?= = [^=\n]+ = $)")


def blimp(model: HFLM, file: Path) -> dict:
    """The harness's task of that name, with its data read from the file."""
    name = file.stem.removeprefix("blimp-")
    config = {
        "task": name, "output_type": "multiple_choice", "validation_split": "train", "doc_to_text": "",
        "doc_to_target": 0, "doc_to_choice": "{{[sentence_good, sentence_bad]}}", "num_fewshot": 0,
        "dataset_path": "json", "dataset_kwargs": {"data_files": {"train": str(file)}},
        "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
    }  # fmt: skip
    told = lm_eval.simple_evaluate(
        model, tasks=[config], task_manager=TaskManager(include_defaults=False), bootstrap_iters=0
    )
    samples = sorted(told["samples"][name], key=lambda sample: sample["doc_id"])
    values = [[round(value, 4) for value, _ in sample["filtered_resps"]] for sample in samples[:PAIRS]]
    return {"accuracy": told["results"][name]["acc,none"], "n": len(samples), "first": values}


def wikitext(model: HFLM, file: Path) -> dict:
    pages = [page for page in PAGE.split(file.read_text(encoding="utf-8")) if page.strip()][:PAGES]
    requests = [Instance("loglikelihood_rolling", {}, (page,), i) for i, page in enumerate(pages)]
    found = model.loglikelihood_rolling(requests, disable_tqdm=True)
    words = [(value, len(re.split(r"\s+", page))) for value, page in zip(found, pages, strict=True)]
    sizes = [(value, len(page.encode())) for value, page in zip(found, pages, strict=True)]
    return {
        "log_likelihoods": [round(value, 3) for value in found],
        "word perplexity": weighted_perplexity(words),
        "byte perplexity": weighted_perplexity(sizes),
        "bits per byte": bits_per_byte(sizes),
    }


def main() -> None:
    folder, data, only = sys.argv[1], Path(sys.argv[2]), sys.argv[3:]
    how = f"lm-eval {lm_eval.__version__}, HFLM in float32, by from_lm_eval.py beside this file"
    for file in sorted(data.glob("blimp-*.jsonl")):
        if not only or file.name in only:
            model = HFLM(pretrained=folder, device="cpu", dtype="float32", batch_size=32)
            files = read("choices_blimp").get("files", {}) | {file.name: blimp(model, file)}
            write("choices_blimp", {"how": how, "pairs": PAIRS, "files": dict(sorted(files.items()))})
    if not only or "wikitext" in only:
        model = HFLM(pretrained=folder, device="cpu", dtype="float32", batch_size=4, max_length=LENGTH)
        of_pages = wikitext(model, data / "wikitext-2-valid.txt")
        write("perplexity_wikitext", {"how": how, "pages": PAGES, "max_length": LENGTH, **of_pages})


def read(name: str) -> dict:
    file = HERE / f"{name}.json"
    return json.loads(file.read_text()) if file.exists() else {}


def write(name: str, told: dict) -> None:
    (HERE / f"{name}.json").write_text(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    main()
