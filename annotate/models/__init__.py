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
from .queue import ItemPriority, QueueChange, QueueEntry, SideCount
from .red_team import Attack, HarmBudget, Question, Talk
from .repeats import FirstAnswer
from .tokens import ApiToken

__all__ = [
    "ApiToken",
    "Assignment",
    "Attack",
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
    "HarmBudget",
    "HeldWatch",
    "Hold",
    "Import",
    "ImportProblem",
    "Invitation",
    "ItemPriority",
    "Judge",
    "LanguageModel",
    "Membership",
    "Project",
    "Prompt",
    "Question",
    "QueueChange",
    "QueueEntry",
    "Ranking",
    "Rating",
    "Role",
    "Scale",
    "Side",
    "SideCount",
    "Span",
    "Status",
    "StatusChange",
    "Talk",
    "TryCount",
    "User",
    "VoteTrace",
    "Webhook",
    "Winner",
]
