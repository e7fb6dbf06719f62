from annotate.models.arena import Battle, BattleTurn, TryCount
from annotate.models.assignments import Assignment
from annotate.models.datasets import Dataset, DatasetFreeze
from annotate.models.defence import HeldWatch, Hold, VoteTrace
from annotate.models.feedback import (
    AnnotatorKind,
    Comparison,
    Demonstration,
    Flag,
    Ranking,
    Rating,
    Span,
    Status,
    StatusChange,
    Winner,
)
from annotate.models.integrations import Delivery, Import, ImportProblem, Webhook
from annotate.models.language_models import Contestant, LanguageModel
from annotate.models.people import AuditEntry, Invitation, Membership, NoticeMail, Role, User
from annotate.models.processes import ProcessHeartbeat
from annotate.models.projects import GoldItem, Guideline, Project, Scale
from annotate.models.prompts import Completion, Prompt, Split
from annotate.models.queue import ItemPriority, QueueChange, QueueEntry, SideCount
from annotate.models.red_team import Attack, HarmBudget, Question, Talk
from annotate.models.repeats import FirstAnswer
from annotate.models.served_adapters import AdapterServer, ServedAdapter
from annotate.models.tokens import ApiToken
from annotate.models.work_packages import ReservedPrompt, WorkPackage

__all__ = [
    "AdapterServer",
    "AnnotatorKind",
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
    "DatasetFreeze",
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
    "LanguageModel",
    "Membership",
    "NoticeMail",
    "ProcessHeartbeat",
    "Project",
    "Prompt",
    "Question",
    "QueueChange",
    "QueueEntry",
    "Ranking",
    "Rating",
    "ReservedPrompt",
    "Role",
    "Scale",
    "ServedAdapter",
    "SideCount",
    "Span",
    "Split",
    "Status",
    "StatusChange",
    "Talk",
    "TryCount",
    "User",
    "VoteTrace",
    "Webhook",
    "Winner",
    "WorkPackage",
]
