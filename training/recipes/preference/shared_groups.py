"""Let GRPO and RLOO draw their groups of answers by our sampler, and let several processes carry them out.

    answers    drawn with a seed for each row and step, whoever draws it and whichever attempt. TRL's generation draws
               from one global generator, so that its answers depend on how many processes there are, and takes two to
               three times as long on a processor
    rows       each process has a block of a step's rows, as accelerate deals them out; a group may lie in two
    weights    a split model is gathered once for each step's answers, which end after different numbers of tokens
    losses     TRL's are means over a process's rows or tokens: each counts by its share of them

Rewards, advantages and figures are TRL's own, over the rows of all processes.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from training.recipes.common import memory, sharding
from training.recipes.common.processes import Processes
from training.recipes.preference.shared_trainer import SharedTrainer
from training.rl.decode import LlamaDecoder, decoder_for
from training.rl.module_decoder import ModuleDecoder
from training.rl.sampler import Sampling, sample, sequence_seed


def drawing(trainer_class: type) -> type:
    """Return GRPO's or RLOO's trainer that draws by our sampler; it takes `together` and `seed`, too."""
    return type(trainer_class.__name__, (_DrawnGroups, trainer_class), {})


def shared_groups(trainer_class: type) -> type:
    """Return the same as several processes carry it out; it takes `run`, too."""
    return type(trainer_class.__name__, (_SharedGroups, SharedTrainer, trainer_class), {})


class _DrawnGroups:
    """Replace how a trainer of groups draws answers. It comes before that class."""

    together: Processes

    def __init__(self, *arguments: Any, seed: int, **named: Any) -> None:
        self.seed = seed
        if not isinstance(self, SharedTrainer):
            self.together = named.pop("together")
        self._kept_decoder: LlamaDecoder | ModuleDecoder | None = None
        self.fast_decoder = False
        super().__init__(*arguments, **named)

    def _generate_single_turn(self, prompt_ids: list[list[int]], *_rest: Any, **_named: Any) -> Any:
        """Return the token ids of an answer to each of these prompts; GRPO wants their log-probabilities, too."""
        trainer: Any = self
        together, step, count = self.together, trainer.state.global_step, len(prompt_ids)
        first = together.rank * count
        seeds = [sequence_seed(self.seed, "group", step, first + row) for row in range(count)]
        device = trainer.accelerator.device
        with sharding.whole(trainer.model):
            decoder = self._decoder()
            self.fast_decoder = isinstance(decoder, LlamaDecoder)
            done = sample(
                decoder, prompt_ids, seeds,
                Sampling(trainer.max_completion_length, trainer.temperature), end_ids=trainer.eos_token_ids,
                pad_id=trainer.processing_class.pad_token_id, device=device,
                most_rows=memory.rows_at_once(trainer.model, device, prompt_ids, trainer.max_completion_length),
            )  # fmt: skip
        answers = [ids[:length] for ids, length in zip(done.tokens.tolist(), done.lengths.tolist(), strict=True)]
        return (answers, None) if hasattr(trainer, "loss_type") else answers

    def _decoder(self) -> LlamaDecoder | ModuleDecoder:
        """Return what decodes by the weights as they are. Of a split model no layout is copied; weights that learn are
        copied for one step's answers, and the copy is gone before there are gradients."""
        model = self.model  # type: ignore[attr-defined]
        if sharding.is_sharded(model):
            return ModuleDecoder(model)
        if not hasattr(model, "get_base_model"):
            return decoder_for(model)
        if self._kept_decoder is None:
            with model.disable_adapter():  # whether it is trusted depends on the parent, and on no attempt's adapters
                self._kept_decoder = decoder_for(model.get_base_model())
        self._kept_decoder.refresh(0)
        return self._kept_decoder


class _SharedGroups(_DrawnGroups):
    """Replace what a trainer of groups does with rows, answers and losses. It comes before `SharedTrainer`."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        trainer: Any = self
        for model in (trainer.model, trainer.ref_model):
            if model is not None:
                sharding.reshard_always(model)

    def compute_loss(self, model: Any, inputs: Any, *rest: Any, **named: Any) -> Tensor:
        trainer: Any = self
        loss: Tensor = super().compute_loss(model, inputs, *rest, **named)  # type: ignore[misc]
        if getattr(trainer, "loss_type", "") != "bnpo":
            return loss / trainer.together.count
        own = float(inputs["completion_mask"].sum())
        return loss * (own / max(trainer.together.total(own)[0], 1.0))
