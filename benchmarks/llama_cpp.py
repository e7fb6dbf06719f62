"""llama.cpp's server beside our sampling: the peer of `benchmarks.sampling --llama-python PYTHON`.

PYTHON is the interpreter of a virtual environment of its own, where `pip install xllamacpp` has brought llama.cpp's
server, built for plain AVX2. It runs this file, with nothing of ours: token ids come as JSON on standard input, and as
many threads as there are rows ask the server, which batches them continuously. The weights are those of the bundled
GGUF (Q4_1), written again in another type by `write_as`, so that every contestant has the same model.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

TYPES = ("F16", "Q8_0")


def write_as(bundled: Path, kind: str, file: Path) -> None:
    """Write a GGUF's weights again, as F16 or Q8_0; vectors stay float32."""
    import gguf

    reader = gguf.GGUFReader(bundled)
    field = reader.get_field("general.architecture")
    assert field is not None
    writer = gguf.GGUFWriter(file, field.contents())
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name in ("general.architecture", "general.file_type"):
            continue
        element = field.types[1] if len(field.types) > 1 else None
        writer.add_key_value(name, field.contents(), field.types[0], element)
    wanted = gguf.GGMLQuantizationType[kind]
    for tensor in reader.tensors:
        plain = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        kept = plain if plain.ndim < 2 else gguf.quants.quantize(plain, wanted)
        writer.add_tensor(tensor.name, kept, raw_dtype=wanted if plain.ndim > 1 else None)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def measured(python: Path, work: dict[str, Any]) -> dict[str, Any]:
    """Return what `main` prints of this work, by another interpreter."""
    given = json.dumps({**work, "threads": len(os.sched_getaffinity(0))})
    ended = subprocess.run([str(python), "-P", __file__], input=given, capture_output=True, text=True)
    if ended.returncode:
        from benchmarks.refusal import refuse

        refuse(f"llama.cpp with {work['rows']} rows ended with: {ended.stderr.strip().splitlines()[-1]}")
    return dict(json.loads(ended.stdout.splitlines()[-1]))


def main() -> None:
    """Answer the prompts of standard input, so many at once; print tokens, seconds and rate."""
    import xllamacpp

    given: dict[str, Any] = json.load(sys.stdin)
    rows, new_tokens, prompts = given["rows"], given["new_tokens"], given["prompts"]
    longest = max(map(len, prompts)) + new_tokens
    options = xllamacpp.CommonParams()
    options.model.path, options.n_parallel = given["model"], rows
    options.n_ctx = rows * (longest + 16)
    options.n_batch = options.n_ubatch = 512
    options.cpuparams.n_threads = options.cpuparams_batch.n_threads = given["threads"]
    options.warmup, options.cont_batching, options.verbosity = True, True, 0
    server = xllamacpp.Server(options)

    def answer(numbered: tuple[int, list[int]], most: int = new_tokens) -> int:
        number, prompt = numbered
        request = {
            "prompt": prompt, "n_predict": most, "seed": number, "cache_prompt": False, "temperature": 1.0,
            "top_p": given["top_p"], "samplers": ["top_p", "temperature"], "stream": False,
        }  # fmt: skip
        return int(server.handle_completions(request)["usage"]["completion_tokens"])

    answer((0, prompts[0]), 4)
    started = time.perf_counter()
    with ThreadPoolExecutor(rows) as pool:
        tokens = sum(pool.map(answer, enumerate(prompts)))
    seconds = time.perf_counter() - started
    print(json.dumps({"tokens": tokens, "seconds": seconds, "rate": tokens / seconds}))


if __name__ == "__main__":
    main()
