"""What a reward model showed on held-out annotations, wherever its files are."""

from __future__ import annotations

from annotate.core.artefacts import local_copies
from annotate.models import LanguageModel
from training.core import reward_trust


def of_model(model: LanguageModel) -> reward_trust.Evidence:
    """Return the evidence, by two small files of it: its weights are not fetched for that. Raises StorageProblem."""
    if model.path is None:
        return reward_trust.Evidence()
    facts = local_copies.bring_file(model.path / "reward.json")
    local_copies.bring_file(model.path.parent / "result.json")
    return reward_trust.of_folder(facts.parent)
