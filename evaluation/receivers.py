"""What happens here when a run has ended: a model's own held-out figures become evaluations that can be pointed at."""

from __future__ import annotations

from typing import Any

from django.dispatch import receiver

from evaluation.kinds import write_metrics
from training.models import Run
from training.signals import run_finished


@receiver(run_finished, dispatch_uid="evaluation.figures_of_a_new_model")
def figures_of_a_new_model(sender: type, run: Run, **kwargs: Any) -> None:
    """A reward run measures itself on prompts it held out; those figures belong to the reward model it made."""
    if run.state == Run.State.SUCCEEDED and run.output_model is not None:
        write_metrics(run, run.output_model)
