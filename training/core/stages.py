"""The kinds of run in the order in which a model comes about, from raw text to a rank."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from training.configs.forms.layouts import methods_beside
from training.core.kinds import KINDS, Kind


@dataclass(frozen=True)
class Stage:
    title: str
    purpose: str
    kinds: tuple[Kind, ...]
    is_from_scratch: bool = False  # it comes before finetuning: shown where a project has it on

    @property
    def entries(self) -> list[tuple[Kind, ...]]:
        """Return the kinds, those that share a form together: DPO with KTO."""
        by_form: dict[str, tuple[Kind, ...]] = {}
        for kind in self.kinds:
            form = (methods_beside(kind.name) or (kind.name,))[0]
            by_form[form] = (*by_form.get(form, ()), kind)
        return list(by_form.values())


_STAGES = (
    ("Data", "texts and tokenizers", ("corpus", "tokenizer")),
    ("Import", "an existing model", ("import",)),
    ("Pretrain", "from raw text", ("pretrain", "domain")),
    ("Instruct", "from examples", ("sft", "classify")),
    ("Preferences", "from annotations", ("reward", "dpo", "kto")),
    ("Policy", "reinforcement learning against a score", ("ppo", "grpo", "rloo", "rejection", "best_of")),
    ("Measure", "answers to annotate, and evaluation", ("sample", "evaluate", "verdicts", "surprise", "label")),
    ("Release", "files for other programs", ("export",)),
)


_FROM_SCRATCH = ("Data", "Pretrain")


def stages(only: Collection[str] | None = None, *, from_scratch: bool = True) -> list[Stage]:
    """Return every kind under its stage, kinds that nobody here has heard of last; with `only`, those and no empty
    stage; without the stages before finetuning where `from_scratch` is False."""
    known_kinds = {name for _, _, names in _STAGES for name in names}
    strangers = ("Other", "", tuple(name for name in KINDS if name not in known_kinds))
    stages = [
        Stage(
            title,
            purpose,
            tuple(KINDS[n] for n in names if n in KINDS and (only is None or n in only)),
            title in _FROM_SCRATCH,
        )
        for title, purpose, names in (*_STAGES, strangers)
    ]
    return [stage for stage in stages if stage.kinds and (from_scratch or not stage.is_from_scratch)]
