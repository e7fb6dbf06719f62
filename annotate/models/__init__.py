from .arena import Battle
from .assignments import Assignment
from .datasets import Dataset
from .feedback import Comparison, Demonstration, Flag, Judge, Rating, Status, StatusChange, Winner
from .language_models import Contestant, LanguageModel
from .people import Membership, Role, User
from .projects import Guideline, Project
from .prompts import Completion, Prompt, Side
from .repeats import FirstAnswer

__all__ = [
    "Assignment",
    "Battle",
    "Comparison",
    "Completion",
    "Contestant",
    "Dataset",
    "Demonstration",
    "FirstAnswer",
    "Flag",
    "Guideline",
    "Judge",
    "LanguageModel",
    "Membership",
    "Project",
    "Prompt",
    "Rating",
    "Role",
    "Side",
    "Status",
    "StatusChange",
    "User",
    "Winner",
]
