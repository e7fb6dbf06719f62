"""What happens here when a run has ended: its figures become evaluations, and a policy that it made a candidate."""

from __future__ import annotations

from typing import Any

from django.dispatch import receiver

from evaluation import promotion
from evaluation.enrolment import enrol
from evaluation.kinds import write_metrics
from training.models import Run
from training.signals import run_finished


@receiver(run_finished, dispatch_uid="evaluation.figures_of_a_new_model")
def figures_of_a_new_model(sender: type, run: Run, **kwargs: Any) -> None:
    """A reward run measures itself on prompts it held out; those figures belong to the reward model it made."""
    if run.state == Run.State.SUCCEEDED and run.output_model is not None:
        write_metrics(run, run.output_model)


@receiver(run_finished, dispatch_uid="evaluation.enrolment_of_a_new_model")
def enrolment_of_a_new_model(sender: type, run: Run, **kwargs: Any) -> None:
    enrol(run)


@receiver(run_finished, dispatch_uid="evaluation.evidence_has_come")
def evidence_has_come(sender: type, run: Run, **kwargs: Any) -> None:
    """An evaluation has ended: whoever waits for its figures is looked at now and not at the next sweep."""
    if run.state == Run.State.SUCCEEDED and run.kind == "evaluate":
        promotion.look(run.project)
