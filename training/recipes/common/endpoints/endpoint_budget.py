"""What a run may spend at an endpoint, and what its requests have cost so far, by the model's prices."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from training.core.run_directory import Row


@dataclass
class Budget:
    """Count what a run spends. `most` is in dollars; None is no limit. Requests whose answers tell no tokens count as
    the others' mean."""

    most: Decimal | None
    spent: Decimal = Decimal(0)
    priced: int = 0  # requests
    unpriced: int = 0

    def note(self, rows: Iterable[Row]) -> None:
        """Count whole requests, by the rows of completions.jsonl that they became."""
        cost_by_request: dict[int, Decimal | None] = {}
        for row in rows:
            before = cost_by_request.get(row["request"], Decimal(0))
            share = None if row["cost"] is None else Decimal(row["cost"])
            cost_by_request[row["request"]] = None if before is None or share is None else before + share
        for cost in cost_by_request.values():
            self.spent += cost or 0
            self.priced += cost is not None
            self.unpriced += cost is None

    def allows(self, under_way: int) -> bool:
        """Return whether one more request may go out while so many are under way, which will cost what others did.

        Nothing is known before the first answer: the first request goes out alone."""
        if self.most is None:
            return True
        if not self.priced:
            return under_way == 0
        return self.spent + self.spent / self.priced * (self.unpriced + under_way) < self.most

    @property
    def is_blind(self) -> bool:
        """Return whether there is a limit, and no way to keep it."""
        return self.most is not None and self.unpriced > 0 and not self.priced
