"""Watch that attention gets no mask: with one, a GPU repeats grouped keys and takes a slower kernel."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch.nn.functional as F


@contextmanager
def no_masks() -> Iterator[None]:
    attend = F.scaled_dot_product_attention

    def without(*tensors: Any, attn_mask: Any = None, **options: Any) -> Any:
        assert attn_mask is None and len(tensors) == 3
        return attend(*tensors, **options)

    with patch.object(F, "scaled_dot_product_attention", without):
        yield
