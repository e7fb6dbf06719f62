"""Keep hidden states of frozen layers while answers are drawn, so that nobody runs these layers a second time.

Below the lowest layer that learns, policy, reference, value and reward are one function, and the decoder has computed
it of every token but the last. Shapes: S sequences, T tokens at most, H hidden.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

MOST_BYTES = 2**30  # kept at once; what would take more is computed again


class KeptStates:
    """Hold {layer: (S, T, H)}, in transformers' counting (i after layer i), sequences flush left.

    Past a sequence's end there are zeros, or what a row of the decoder that had ended went on to compute: numbers that
    causal order hides. The state of an end token may be missing: nobody reads it.
    """

    def __init__(
        self, layers: Iterable[int], sequences: int, tokens: int, width: int, dtype: torch.dtype,
        device: torch.device | str,
    ) -> None:  # fmt: skip
        self.tokens = tokens
        # One column more, for what rows that have ended compute past the room.
        self._by_layer = {
            layer: torch.zeros(sequences, tokens + 1, width, dtype=dtype, device=device) for layer in layers
        }

    @property
    def layers(self) -> frozenset[int]:
        return frozenset(self._by_layer)

    def write(self, layer: int, sequences: Tensor, positions: Tensor, hidden: Tensor) -> None:
        """Keep hidden (n, H) of tokens, each at its position (n,) of its sequence (n,); of other layers nothing."""
        if layer in self._by_layer:
            self._by_layer[layer][sequences, positions.clamp(max=self.tokens)] = hidden

    def write_shared(self, layer: int, hidden: Tensor) -> None:
        """Keep hidden (n, H) of the tokens that all sequences begin with."""
        if layer in self._by_layer:
            self._by_layer[layer][:, : len(hidden)] = hidden

    def states(self, width: int) -> dict[int, Tensor]:
        """Return {layer: (S, width, H)}, views."""
        return {layer: states[:, :width] for layer, states in self._by_layer.items()}


def most_sequences(layers: int, tokens: int, width: int, dtype: torch.dtype) -> int:
    """Return of how many sequences so many layers' states may be kept."""
    return MOST_BYTES // (layers * (tokens + 1) * width * dtype.itemsize)


def places_of(ends: Tensor, lengths: Tensor, which: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return, for every own token of every row, the row, the token's place where different prompts (U,) lie end to end
    and how many of its own stand before it. `which` (n,): the prompt of each row."""
    own = lengths[which]
    row = torch.repeat_interleave(torch.arange(len(which), device=which.device), own)
    step = torch.arange(len(row), device=which.device) - (own.cumsum(0) - own)[row]
    return row, (ends - lengths)[which][row] + step, step
