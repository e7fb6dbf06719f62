"""Compute Bradley-Terry ratings from counts: which model people prefer, how sure that is, and what would settle it.

Pure numpy: no Django, no database. Votes are tallied once into models × models; everything after that costs nothing
that grows with the number of votes.
"""

from evaluation.ratings.bootstrap import bootstrap
from evaluation.ratings.bradley_terry import Difference, Fit, NotConverged, fit
from evaluation.ratings.tally import LABELS, Tally, tally_indices, tally_totals, tally_votes

__all__ = [
    "LABELS",
    "Difference",
    "Fit",
    "NotConverged",
    "Tally",
    "bootstrap",
    "fit",
    "tally_indices",
    "tally_totals",
    "tally_votes",
]
