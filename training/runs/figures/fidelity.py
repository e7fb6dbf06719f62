"""How near a saved model is to the one that was trained, in words: from `fidelity` in a run's result.json.

Pure. Recipes measure it after saving, on what they load back (`training.recipes.common.children`); runs of earlier
versions have none, and then nothing is said.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from training.runs.figures.curves import is_number

ENOUGH = 0.999  # cosine of the saved to the trained update


@dataclass(frozen=True)
class Fidelity:
    """`kl_per_token` in nats between sampler and trainer; `rank` of an adapter, None for full weights."""

    cosine: float
    kl_per_token: float | None
    rank: int | None
    bytes: int | None
    dtype: str
    shrunk_from: int | None  # rank
    lost_share: float | None  # of the update's norm, by shortening
    precision: str  # of an export

    @property
    def is_enough(self) -> bool:
        return self.cosine >= ENOUGH

    @property
    def form(self) -> str:
        """`adapter of rank 16`, or `full weights in float32`."""
        if self.rank is not None:
            return f"adapter of rank {self.rank}"
        return f"full weights in {self.dtype}" if self.dtype else "full weights"


def of_result(result: Any) -> Fidelity | None:
    """Return what a result or a card's metrics say, None where they say nothing that can be read."""
    found = result.get("fidelity") if isinstance(result, dict) else None
    if not isinstance(found, dict) or not is_number(found.get("cosine")):
        return None
    shrunk = found.get("shrunk") if isinstance(found.get("shrunk"), dict) else {}
    return Fidelity(
        cosine=float(found["cosine"]),
        kl_per_token=_number(found, "kl_per_token"),
        rank=_whole(found, "rank"),
        bytes=_whole(found, "bytes"),
        dtype=str(found.get("dtype") or ""),
        shrunk_from=_whole(shrunk or {}, "from_rank"),
        lost_share=_number(shrunk or {}, "lost_share"),
        precision=str(found.get("precision") or ""),
    )


def lines(result: Any) -> list[tuple[str, str]]:
    """Return (what, how much) for a list of facts."""
    found = of_result(result)
    if found is None:
        return []
    kept = [("Cosine of the saved to the trained update", f"{found.cosine:.5f}")]
    if found.kl_per_token is not None:
        kept.append(("KL of sampler and trainer, nats a token", _small(found.kl_per_token)))
    if not found.precision:
        kept.append(("Saved as", found.form))
    return kept


def sentence(result: Any) -> str:
    """Return what the figures mean; empty where there are none."""
    found = of_result(result)
    return " ".join(_sentences(found)) if found is not None else ""


def _sentences(found: Fidelity) -> Iterator[str]:
    what = f"The file in {found.precision}" if found.precision else "The saved model"
    if found.is_enough:
        yield f"{what} is the one that was trained: the update it holds has a cosine of {found.cosine:.5f} to it."
    else:
        yield (
            f"{what} is not quite the one that was trained: the update it holds has a cosine of {found.cosine:.3f} to "
            f"it, and {ENOUGH} is expected."
        )
        yield (
            "Export it in float32."
            if found.precision
            else "Measure and compare this model, not the figures of its training; to keep more, train it again with "
            "ASSAY_DTYPE=float32."
        )
    if found.kl_per_token is not None:
        yield f"Sampled, it differs from the model in training by {_small(found.kl_per_token)} nats a token (mean KL)."
    if found.shrunk_from is not None and found.rank is not None:
        lost = f", which cost {found.lost_share:.2%} of the update's norm" if found.lost_share is not None else ""
        yield f"The adapters of its chain, of rank {found.shrunk_from} together, were shortened to {found.rank}{lost}."


def _small(value: float) -> str:
    """Two digits that mean something: 0.0021, 3.1e-06."""
    return f"{value:.2g}" if value else "0"


def _number(found: dict[str, Any], name: str) -> float | None:
    value = found.get(name)
    return float(value) if is_number(value) else None


def _whole(found: dict[str, Any], name: str) -> int | None:
    value = found.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) else None
