from .arena import Battle, BattleTurn, TryCount
from .assignments import Assignment
from .datasets import Dataset
from .defence import HeldWatch, Hold, VoteTrace
from .feedback import (
    Comparison,
    Demonstration,
    Flag,
    Judge,
    Ranking,
    Rating,
    Span,
    Status,
    StatusChange,
    Winner,
)
from .language_models import Contestant, LanguageModel
from .outside import Delivery, Import, ImportProblem, Webhook
from .people import AuditEntry, Invitation, Membership, Role, User
from .projects import GoldItem, Guideline, Project, Scale
from .prompts import Completion, Prompt, Side
from .repeats import FirstAnswer

__all__ = [
    "Assignment",
    "AuditEntry",
    "Battle",
    "BattleTurn",
    "Comparison",
    "Completion",
    "Contestant",
    "Dataset",
    "Delivery",
    "Demonstration",
    "FirstAnswer",
    "Flag",
    "GoldItem",
    "Guideline",
    "HeldWatch",
    "Hold",
    "Import",
    "ImportProblem",
    "Invitation",
    "Judge",
    "LanguageModel",
    "Membership",
    "Project",
    "Prompt",
    "Ranking",
    "Rating",
    "Role",
    "Scale",
    "Side",
    "Span",
    "Status",
    "StatusChange",
    "TryCount",
    "User",
    "VoteTrace",
    "Webhook",
    "Winner",
]
