"""A language model small enough to be made in a test: random weights, one token per byte, a chat template.

`python -m tests.support.tiny_model FOLDER SEED` makes one in a process of its own, so that a test need not import
torch. It is kept beside the migrated file (tests/support/migrated.py), for whoever wants the same one again.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

from tests.support.processes import ROOT

_KEPT = ROOT / ".pytest_cache" / "tiny_models"

# Options of PPO: random weights know no fluency, and what they say after a step or two surprises them.
NO_FLUENCY_BOUNDS = {
    "max_surprise_rise": 0.0,
    "max_entropy_rise": 0.0,
    "min_entropy_ratio": 0.0,
    "min_eos_ratio": 0.0,
    "max_foreign_share": 0.0,
}
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def make(folder: Path, seed: int = 0) -> Path:
    """Some 100,000 parameters: answers at hundreds of tokens a second, and means nothing by it."""
    import torch
    from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

    tokenizer = _tokenizer()
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
    )
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        model.lm_head.weight *= 20  # not every token alike, so that samples differ from seed to seed
        model.lm_head.weight[tokenizer.all_special_ids] = 0  # hardly ever the end: a test wants to see text arrive
    model.generation_config = GenerationConfig(
        do_sample=True, top_k=0, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def with_window(model: Path, folder: Path, positions: int) -> Path:
    """Copy a model, and say that it reads no more than so many tokens."""
    shutil.copytree(model, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "max_position_embeddings": positions}))
    return folder


def make_elsewhere(folder: Path, seed: int = 0) -> Path:
    """Put one into `folder`: a copy of what `make` writes for this seed, which a process of its own makes once."""
    _KEPT.mkdir(parents=True, exist_ok=True)
    kept = _KEPT / f"{_fingerprint()}-{seed}"
    with (_KEPT / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not kept.exists():
            coming = _KEPT / "coming"
            shutil.rmtree(coming, ignore_errors=True)
            subprocess.run([sys.executable, "-m", "tests.support.tiny_model", str(coming), str(seed)], check=True)
            coming.rename(kept)
    shutil.copytree(kept, folder, dirs_exist_ok=True)
    return folder


def _fingerprint() -> str:
    """Return a digest of what the files depend on: this module, the packages, and the Python."""
    digest = hashlib.sha256(sys.version.encode())
    for path in (Path(__file__), ROOT / "requirements.lock"):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:20]


def _tokenizer():
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    # Printable ASCII alone: whatever the weights say is text that a page can show and a database can keep.
    alphabet = [*map(chr, range(33, 127)), "Ġ", "Ċ"]  # byte-level names of space and newline
    vocabulary = {letter: n for n, letter in enumerate(alphabet)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|pad|>",
        additional_special_tokens=["<|im_start|>"],
    )
    fast.chat_template = TEMPLATE
    return fast


if __name__ == "__main__":
    make(Path(sys.argv[1]), int(sys.argv[2]))
