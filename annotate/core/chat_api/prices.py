"""Compute what a request costs, in dollars, by a model's prices per million tokens. Pure."""

from __future__ import annotations

from decimal import Decimal


def cost_of(
    prompt_price: Decimal | str | None,
    completion_price: Decimal | str | None,
    prompt_tokens: int | None,
    completion_tokens: int | None,
) -> Decimal | None:
    """Return dollars; None where a price or a count is missing."""
    if prompt_price is None or completion_price is None or prompt_tokens is None or completion_tokens is None:
        return None
    return (Decimal(prompt_price) * prompt_tokens + Decimal(completion_price) * completion_tokens) / 1_000_000
