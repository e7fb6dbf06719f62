"""Describe how near a saved model is to the one that was trained: from `fidelity` in a run's result.json.

Pure. Recipes measure it after saving, on what they load back (`training.recipes.common.children`); runs of earlier
versions have none, and then nothing is said.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from common.texts import percent
from training.runs.figures.curves import is_number

ENOUGH = 0.999  # cosine of the saved to the trained update


@dataclass(frozen=True)
class Fidelity:
    """Say how near sampler and trainer are. `kl_per_token` in nats between sampler and trainer; `rank` of an adapter,
    None for full weights."""

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
        """Return `adapter of rank 16`, or `full weights in float32`."""
        if self.rank is not None:
            return f"adapter of rank {self.rank}"
        return f"full weights in {self.dtype}" if self.dtype else "full weights"


def of_result(result: Any) -> Fidelity | None:
    """Return what a result or a card's metrics say, None where they say nothing that can be read."""
    values = result.get("fidelity") if isinstance(result, dict) else None
    if not isinstance(values, dict) or not is_number(values.get("cosine")):
        return None
    shrunk = values.get("shrunk") if isinstance(values.get("shrunk"), dict) else {}
    return Fidelity(
        cosine=float(values["cosine"]),
        kl_per_token=_number(values, "kl_per_token"),
        rank=_whole_number(values, "rank"),
        bytes=_whole_number(values, "bytes"),
        dtype=str(values.get("dtype") or ""),
        shrunk_from=_whole_number(shrunk or {}, "from_rank"),
        lost_share=_number(shrunk or {}, "lost_share"),
        precision=str(values.get("precision") or ""),
    )


def lines(result: Any) -> list[tuple[str, str]]:
    """Return (what, how much) for a list of facts."""
    fidelity = of_result(result)
    if fidelity is None:
        return []
    facts = [("Cosine of the saved to the trained update", f"{fidelity.cosine:.5f}")]
    if fidelity.kl_per_token is not None:
        facts.append(("KL between sampler and trainer, nats per token", _small(fidelity.kl_per_token)))
    if not fidelity.precision:
        facts.append(("Saved as", fidelity.form))
    return facts


def sentence(result: Any) -> str:
    """Return what the figures mean; empty where there are none."""
    fidelity = of_result(result)
    return " ".join(_sentences(fidelity)) if fidelity is not None else ""


def _sentences(fidelity: Fidelity) -> Iterator[str]:
    subject = f"The file in {fidelity.precision}" if fidelity.precision else "The saved model"
    if fidelity.is_enough:
        yield (
            f"{subject} matches the trained model: the cosine between saved and trained update is "
            f"{fidelity.cosine:.5f}."
        )
    else:
        yield (
            f"{subject} differs from the trained model: the cosine between saved and trained update is "
            f"{fidelity.cosine:.3f}, and at least {ENOUGH} is expected."
        )
        yield (
            "Export it in float32."
            if fidelity.precision
            else "Evaluate this model again instead of using the figures of its training; to lose less, train it "
            "again with ASSAY_DTYPE=float32."
        )
    if fidelity.kl_per_token is not None:
        kl = _small(fidelity.kl_per_token)
        yield f"In sampling it differs from the model in training by {kl} nats per token (mean KL)."
    if fidelity.shrunk_from is not None and fidelity.rank is not None:
        lost = fidelity.lost_share
        cost = f", which cost {percent(lost, 2)} of the update's norm" if lost is not None else ""
        ranks = f"of total rank {fidelity.shrunk_from}, were reduced to rank {fidelity.rank}"
        yield f"The adapters of its ancestors, {ranks}{cost}."


def _small(value: float) -> str:
    """Return the number with two significant digits: 0.0021, 3.1e-06."""
    return f"{value:.2g}" if value else "0"


def _number(values: dict[str, Any], name: str) -> float | None:
    value = values.get(name)
    return float(value) if is_number(value) else None


def _whole_number(values: dict[str, Any], name: str) -> int | None:
    value = values.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) else None
