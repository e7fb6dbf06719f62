"""Save what was trained, and measure that the saved model is the trained one.

After LoRA a child is its parent's base and an adapter: the parent's factors and the new ones, concatenated. After full
finetuning it is a folder of full weights: in bfloat16 where that keeps the update, else in float32. Each is read back:

    cosine         of the saved to the trained update, over all matrices. Rounding a and b to bfloat16 costs 1e-5;
                   rounding parent + b a costs half of a small update, which is why nothing is merged
    kl_per_token   mean KL, in nats, of the live model's next-token distributions to those of the saved one, in the
                   dtype that the run computes in

The models of steps on a run's way (`training.core.kept_steps`) are written alike, from the weights as they are at that
step. Nothing that trains is changed by it, and none is loaded back.
"""

from __future__ import annotations

import copy
import math
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from training.core import kept_steps
from training.core.run_directory import RecipeFailure, Row, RunDirectory, step_of
from training.recipes.common import adapters, loading, sharding
from training.recipes.common.adapters import Base
from training.recipes.common.base_index import write_base_index
from training.recipes.common.memory import return_freed_memory
from training.recipes.common.processes import Processes
from training.rl.factors import Update, concatenate, cosine, negative, shrink

MOST_RANK = 64  # of a chain's adapters together; above it they are shortened
FIDELITY = 0.999  # a saved update below this cosine is kept whole, or in float32
SEQUENCES, LONGEST = 8, 128  # whose distributions are compared: some hundred tokens


@dataclass(frozen=True)
class Fidelity:
    """Say how near the saved model is to the trained one, and what it takes. `shrunk`: what shortening cost, if it
    was."""

    cosine: float
    kl_per_token: float | None
    rank: int | None  # the largest of any matrix; None for full weights
    bytes: int  # of the whole folder
    shrunk: Row | None
    dtype: str


@dataclass(frozen=True)
class Saved:
    """A model as it was loaded back from its folder, in the run's dtype, and its fidelity."""

    model: Any
    fidelity: Fidelity

    def facts(self) -> Row:
        """Return the facts for result.json."""
        return {"fidelity": asdict(self.fidelity)}


def save_child(
    parent: str | Path, model: Any, tokenizer: Any, folder: str | Path, sequences: Iterable[Sequence[int]],
    weights: dict[str, Tensor] | None = None,
) -> Saved:  # fmt: skip
    """Write the child of `parent` that `model` has become, load it back, and measure how near it is.

    `model` holds LoRA layers (`training.rl.lora` or PEFT's), or no such layer after full finetuning; then `weights` are
    its float32 masters, where it holds rounded copies. It is not to be trained afterwards. Distributions are compared
    on the first `sequences` of token ids; without any, kl_per_token is None. A model on the CPU stays there, also as
    it is loaded back: no GPU may hold it. Raises RecipeFailure when a weight is not finite.
    """
    folder = Path(folder)
    return_freed_memory()  # a second model is to be loaded
    shown = [list(ids)[:LONGEST] for ids, _ in zip(sequences, range(SEQUENCES), strict=False) if len(ids) > 1]
    trained_logits = next_token_logits(model, shown)
    fidelity, rank, shrunk, dtype = write_model(parent, model, tokenizer, folder, weights)
    stays = model.device.type != loading.device().type
    if model.device.type != "cpu" and not getattr(model, "is_quantized", False):
        model.to("cpu")  # two models at once are more than training took
    loaded = loading.load_policy(folder, _compute_dtype(model), to_split=stays)[0]
    kl = mean_kl(trained_logits, next_token_logits(loaded, shown)) if shown else None
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return Saved(loaded, Fidelity(fidelity, kl, rank, size, shrunk, str(dtype).removeprefix("torch.")))


def write_model(
    parent: str | Path, model: Any, tokenizer: Any, folder: Path, weights: dict[str, Tensor] | None = None
) -> tuple[float, int | None, Row | None, torch.dtype]:
    """Write the child of `parent` that `model` has become: (cosine, rank, what shortening cost, dtype). Its weights
    stay as they are."""
    if trained := adapters.trained_factors(model):
        return _save_adapter(Path(parent), trained, model, tokenizer, folder)
    fidelity, dtype = _save_full(Path(parent), model, tokenizer, folder, weights)
    return fidelity, None, None, dtype


def _compute_dtype(model: Any) -> torch.dtype:
    return loading.compute_dtype() if getattr(model, "is_quantized", False) else model.dtype


def _save_adapter(
    parent: Path, trained: Update, model: Any, tokenizer: Any, folder: Path
) -> tuple[float, int, Row | None, torch.dtype]:
    """Write an adapter and all that makes its folder a policy: (cosine, rank, what shortening cost, dtype)."""
    figures = write_child(parent, trained, folder)
    loading.save_tokenizer(tokenizer, folder)
    loading.prepare_to_serve(model.generation_config)
    model.generation_config.save_pretrained(folder)
    return figures


def write_child(
    parent: Path, trained: Update, folder: Path, prefix: str = ""
) -> tuple[float, int, Row | None, torch.dtype]:
    """Write the smallest adapter that keeps the update: (cosine, rank, what shortening cost, dtype).

    `prefix` ("model.") is taken from the names of the parent's layers, for a child that is a trunk without an output
    layer. Where nothing is trained, an adapter's child is that adapter.
    """
    loading.refuse_unusable({f"{n}.{part}": getattr(f, part) for n, f in trained.items() for part in ("a", "b")})
    before = adapters.read_adapter(parent) if adapters.is_adapter(parent) else {}
    before = {name.removeprefix(prefix): factors for name, factors in before.items()}
    base = _base_for(parent)
    full_update = concatenate(before, {name: factors.to(torch.float32) for name, factors in trained.items()})
    rank = max(factors.rank for factors in full_update.values())
    candidates: list[tuple[Update, Row | None, torch.dtype]] = []
    if rank > MOST_RANK:
        short, lost_share = shrink(full_update, MOST_RANK)
        candidates.append((short, {"from_rank": rank, "lost_share": lost_share}, torch.bfloat16))
    candidates += [(full_update, None, torch.bfloat16), (full_update, None, torch.float32)]
    for candidate in candidates:
        update, shrunk, dtype = candidate
        adapters.write_adapter(folder, update, base, dtype)
        saved = adapters.read_adapter(folder)
        fidelity = cosine(concatenate(saved, negative(before)), trained)
        if fidelity >= FIDELITY:
            break
    write_base_index(folder, base.folder)
    return fidelity, max(factors.rank for factors in saved.values()), shrunk, dtype


def _base_for(parent: Path) -> Base:
    if adapters.is_adapter(parent):
        base = adapters.base_of(parent)
        return base if base.hash else Base(base.folder, loading.weights_hash(base.folder))
    return Base(parent.resolve(), loading.weights_hash(parent))


def _save_full(
    parent: Path, model: Any, tokenizer: Any, folder: Path, weights: dict[str, Tensor] | None
) -> tuple[float, torch.dtype]:
    """Write full weights in bfloat16 where that keeps the update, else in float32."""
    fidelity, dtype = kept_by(parent, model.state_dict() | (weights or {}))
    loading.save_policy(model, tokenizer, folder, dtype, weights)
    return fidelity, dtype


def kept_by(parent: Path, state: dict[str, Tensor], prefix: str = "") -> tuple[float, torch.dtype]:
    """Return (cosine, dtype): bfloat16 where it keeps the update of full weights, else float32, which is exact."""
    fidelity = rounded_cosine(parent, {name: t for name, t in state.items() if t.is_floating_point()}, prefix)
    return (fidelity, torch.bfloat16) if fidelity >= FIDELITY else (1.0, torch.float32)


@torch.no_grad()
def rounded_cosine(parent: Path, state: dict[str, Tensor], prefix: str = "") -> float:
    """Return the cosine of the update that bfloat16 keeps to the one that was trained, over all weights.

    Names in `state` may lack the `prefix` that the parent's have.
    """
    dot = of_saved = of_trained = 0.0
    for name, before in adapters.merged_state(parent):
        name = name if name in state else name.removeprefix(prefix)
        if name not in state:
            continue
        after = state[name].detach().to("cpu", torch.float32)
        trained, saved = (after - before).double(), (after.bfloat16().float() - before).double()
        dot += float((trained * saved).sum())
        of_saved += float(saved.square().sum())
        of_trained += float(trained.square().sum())
    if not of_trained:
        return 1.0
    return dot / math.sqrt(of_saved * of_trained) if of_saved else 0.0


@torch.no_grad()
def next_token_logits(model: Any, sequences: list[list[int]]) -> list[Tensor]:
    """Return the logits (T, V) of each sequence, float32 on the CPU."""
    was_training = model.training
    model.eval()
    cpus = [model(input_ids=torch.tensor([ids], device=model.device)).logits[0].float().cpu() for ids in sequences]
    model.train(was_training)
    return cpus


def mean_kl(reference: list[Tensor], other_logits: list[Tensor]) -> float:
    """Return the mean KL(reference || other) per token, in nats. Raises RecipeFailure when a model gives no numbers."""
    total, count = 0.0, 0
    for x, y in zip(reference, other_logits, strict=True):
        of_x, of_y = x.double().log_softmax(-1), y.double().log_softmax(-1)
        total += float((of_x.exp() * (of_x - of_y)).sum())
        count += len(x)
    if not math.isfinite(total):
        raise RecipeFailure(
            "not_finite", "The trained model gives no finite logits: training diverged.",
            "Lower the learning rate and start again.",
        )  # fmt: skip
    return max(total / count, 0.0)


def child_writer(parent: str, tokenizer: Any) -> Callable[[sharding.Trained, Path], object]:
    """Return what writes the child of `parent` that a whole model has become, as `write_model` does."""
    return lambda whole, folder: write_model(parent, whole.model, tokenizer, folder, whole.weights or None)


@dataclass(frozen=True)
class KeptSteps:
    """Hold which steps of a run are kept: `count` of `total`. Each process has one, and the first writes: the whole
    model that `trained` gives, by `write`, into a folder."""

    run: RunDirectory
    together: Processes
    write: Callable[[sharding.Trained, Path], object]
    count: int
    total: int

    def note(self, step: int, trained: Callable[[], sharding.Trained]) -> None:
        """Keep the model of this step, if it is one of them; `trained` gives it whole to the first process. All take
        part."""
        if step not in kept_steps.steps_to_keep(self.count, self.total):
            return
        with torch.random.fork_rng(devices=[]):  # loading a model draws
            whole = trained()
        if self.together.is_first:
            folder = kept_steps.begin(self.run, step)
            with _unchanged(whole.model):
                self.write(whole, folder)
            kept_steps.commit(self.run, step)

    def go_back(self, to: int, at: int, trained: Callable[[], sharding.Trained]) -> None:
        """Forget the models of steps after `to`, whose weights the run takes again at step `at`. All take part."""
        if self.together.is_first:
            for folder in kept_steps.models(self.run):
                if step_of(folder) > to:
                    shutil.rmtree(folder)
        self.note(at, trained)

    def facts(self, is_wanted: Callable[[int], bool] = lambda step: True) -> Row:
        """Return the facts for result.json; the model of a step that is not wanted goes."""
        if not self.count:
            return {}
        rows = []
        for folder in kept_steps.models(self.run):
            if is_wanted(step_of(folder)):
                rows.append({"step": step_of(folder), "steps": self.total, "hash": loading.weights_hash(folder)})
            else:
                shutil.rmtree(folder)
        return {"kept_checkpoints": rows}


@contextmanager
def _unchanged(model: Any) -> Iterator[None]:
    """Give a model back what writing it changes: how it generates, and what its config says."""
    places = (model, "generation_config"), (model.config, "dtype"), (model.config, "use_cache")
    before = [(of, name, copy.deepcopy(getattr(of, name))) for of, name in places if hasattr(of, name)]
    try:
        yield
    finally:
        for of, name, value in before:
            setattr(of, name, value)
