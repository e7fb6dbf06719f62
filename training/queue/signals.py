"""Sent after the commit that ended a run, well or not. Receivers get `run`; what they raise is not passed on."""

from django.dispatch import Signal

run_finished = Signal()
