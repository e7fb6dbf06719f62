"""Present a battle to its visitor: its questions, and how far the two answers to each are. It names no model.

What is stored is whole. What is shown before the vote hides the name of a model that tells its own (see `masking`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from annotate.arena.masking import masked_text as masking
from annotate.arena.masking.naming_rules import MaskingContext
from annotate.models import Battle, BattleTurn, Completion
from common.sampling import cut_note

STOPPED = "stopped"  # the finish_reason of an answer that its visitor ended
ENOUGH = 10  # characters of an answer that goes on, before it may be judged
LONGEST_WORD = 24
Place = Battle | BattleTurn  # where the two answers to one question stand


@dataclass(frozen=True)
class Side:
    """Hold what a reader may see of one answer."""

    letter: str
    text: str = ""
    state: str = "waiting"  # then writing, and at last stands, stopped or failed
    cut: str = ""  # what stands under an answer that had no more room

    @property
    def is_over(self) -> bool:
        return self.state in ("stands", STOPPED, "failed")

    @property
    def can_be_judged(self) -> bool:
        return self.state in ("stands", STOPPED) or len(self.text.strip()) >= ENOUGH


Sides = tuple[Side, Side]


@dataclass(frozen=True)
class Scene:
    """One question of a battle. `problem` says why it does not count, in words that do not distinguish the sides;
    `begun` how many of the two answers have begun, without saying which."""

    number: int
    question: str
    sides: Sides
    problem: str = ""
    begun: int = 0

    @property
    def is_over(self) -> bool:
        return all(side.is_over for side in self.sides)

    @property
    def can_vote(self) -> bool:
        """Return whether both answers have begun, or, in a later turn, whether there is something to vote on
        already."""
        return self.number > 1 or (not self.problem and all(side.can_be_judged for side in self.sides))


def scenes(battle: Battle, *, named: bool = False) -> list[Scene]:
    """Return all questions as they stand in the database; `named` after the vote, when nothing is masked any more."""
    questions = questions_of(battle)
    return [_scene(battle, question, named=named, is_last=question is questions[-1]) for question in questions]


def stored(battle_id: int) -> Scene:
    """Return the newest question as it stands in the database."""
    battle = Battle.objects.select_related("prompt", "completion_a", "completion_b", "model_a", "model_b").get(
        pk=battle_id
    )
    return _scene(battle, questions_of(battle)[-1], named=False, is_last=True)


def questions_of(battle: Battle) -> list[Place]:
    related = ("prompt_a", "prompt_b", "completion_a", "completion_b")
    return [battle, *battle.turns.select_related(*related).order_by("number")]


def number_of(question: Place) -> int:
    return 1 if isinstance(question, Battle) else question.number


def question_of(question: Place) -> str:
    return question.prompt.text if isinstance(question, Battle) else question.prompt_a.text


def masking_context(battle: Battle, question: Place) -> MaskingContext:
    """Return the names that must not be read in the answers, and what the visitor has said already."""
    prompt = question.prompt if isinstance(question, Battle) else question.prompt_a
    text = "\n".join(turn["content"] for turn in prompt.messages if turn["role"] == "user")
    return MaskingContext(names=names_of(battle), question=text)


def names_of(battle: Battle) -> tuple[str, ...]:
    """Return the names of the two models: here, of their folders, and on their servers."""
    names: dict[str, None] = {}
    for model in (battle.model_a, battle.model_b):
        for name in (model.name, PurePosixPath(model.folder).name, *model.served_name.split("/")):
            if name:
                names[name] = None
    return tuple(names)


def raw_sides(battle: Battle, question: Place, *, is_last: bool = True) -> Sides:
    """Return both sides as they are stored, unmasked: for the writer, and for the page after the vote."""
    drafts = (battle.draft_a, battle.draft_b) if is_last else ("", "")
    completions = (question.completion_a, question.completion_b)
    a, b = (
        replace(_side(letter, completion, draft, bool(question.spoilt_reason)), cut=cut_note(completion, completions))
        for letter, completion, draft in zip("AB", completions, drafts, strict=True)
    )
    return a, b


def in_step(sides: Sequence[Side]) -> Sides:
    """Return both sides as far as a voter may see them: neither further than the other while that one is written.

    A voter must not see which model is quicker, hangs or ends first by its speed; they may see which answer is longer.
    """
    a, b = sides
    return _no_further(a, b), _no_further(b, a)


def _no_further(side: Side, other_side: Side) -> Side:
    if other_side.is_over or side.state == "failed" or len(side.text) <= len(other_side.text):
        return side
    return replace(side, text=_to_a_word(side.text, len(other_side.text)), state="writing", cut="")


def _to_a_word(text: str, length: int) -> str:
    """Return at most `length` characters, without cutting a short word."""
    end = length
    while end > max(length - LONGEST_WORD, 0) and text[end - 1].isalnum() and text[end].isalnum():
        end -= 1
    return text[: end if end > max(length - LONGEST_WORD, 0) else length]


def masked(sides: Sequence[Side], context: MaskingContext) -> Sides:
    """Return both sides with names masked; an unfinished answer holds its last words back, so that no name is half
    shown."""
    a, b = (replace(side, text=masking.shown(side.text, context, is_whole=side.is_over)) for side in sides)
    return together(a, b)


def together(a: Side, b: Side) -> Sides:
    """Return both sides once both have begun, before that nothing: which model was slower to load is not for the voter
    to see."""
    if all(side.is_over or side.text for side in (a, b)):
        return a, b
    return replace(a, text="", state="waiting"), replace(b, text="", state="waiting")


def count_begun(sides: Sequence[Side]) -> int:
    """Return how many of the sides, as they are stored or written, have begun."""
    return sum(side.is_over or bool(side.text) for side in sides)


def scene_of(question: Place, sides: Sides, problem: str, begun: int = 0) -> Scene:
    """Return the scene of a question.

    In a later turn that failed nothing is shown of either answer: it can still be voted on, and whoever knows which
    model takes no long questions would know which of the two it is.
    """
    number = number_of(question)
    if problem and number > 1:
        sides = (Side("A", state="failed"), Side("B", state="failed"))
    return Scene(number, question_of(question), sides, problem, begun)


def _scene(battle: Battle, question: Place, *, named: bool, is_last: bool) -> Scene:
    sides = raw_sides(battle, question, is_last=is_last)
    sides_shown = sides if named else masked(in_step(sides), masking_context(battle, question))
    return scene_of(question, sides_shown, question.spoilt_reason, count_begun(sides))


def _side(letter: str, completion: Completion | None, draft: str, is_spoilt: bool) -> Side:
    text = completion.text if completion else draft
    if is_spoilt:  # both alike: neither side tells which of them failed
        return Side(letter, text, "failed")
    if completion:
        return Side(letter, text, STOPPED if completion.finish_reason == STOPPED else "stands")
    return Side(letter, text, "writing" if text else "waiting")
