"""Handing out work: one item to one person for a while, and never to more people than the project asks for."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from django.db.models import Exists, OuterRef
from django.utils import timezone

from annotate.core.db.connections import within_transaction
from annotate.core.db.prepared import Asked, ask
from annotate.core.db.prepared_writes import insert, insert_at_commit
from annotate.core.errors import Refused
from annotate.labelling.assignment_lifecycle import expire_stale, hand_over, put_back, reopen, reopen_unseen
from annotate.labelling.gold import scoring as gold
from annotate.labelling.prerequisites import actions as prerequisites
from annotate.labelling.queue import entries as queue
from annotate.labelling.queue import priorities
from annotate.labelling.queue import swapped_repeats as repeats
from annotate.labelling.queue.assigned_items import COMPARE, RANK, RATE, WRITE, Item
from annotate.labelling.queue.choosing import Choice, choose, choose_together
from annotate.labelling.queue.first_entry import level_column, questions_of_first
from annotate.labelling.queue.locked_look import Look, lock_and_look, share_and_look
from annotate.labelling.queue.positions import Leads, count_swapped, in_order, shuffled
from annotate.labelling.queue.reserved import choose_reserved, without_others
from annotate.labelling.queue.urgent_items import UrgentPair, choose_urgent, in_languages, reserved_in, urgent_pairs
from annotate.models import (
    Assignment,
    Completion,
    GoldItem,
    Membership,
    Project,
    Prompt,
    User,
)
from annotate.models.assignments import AssignmentQuerySet
from annotate.models.project_locks import can_lock_together, give_back
from annotate.models.queue import Levels
from annotate.projects import member_languages

# Kinds come in short runs when a project asks for several: changing the question each time is tiring.
RUN_OF_ONE_KIND = 5
MOST_TAKEN_BACK = 3  # of what waits for others, when nothing else is left: not all is for everybody
ASKED = {RATE: "asks_ratings", COMPARE: "asks_comparisons", RANK: "asks_rankings", WRITE: "asks_answers"}
_lot = random.SystemRandom()
_Purpose = Assignment.Purpose
_MOVE_ON = {level: f"UPDATE annotate_queueentry SET {level} = %s, lot = %s WHERE id = %s" for level in Levels.ALL}
_SHOWN = ("project", "prompt", "completion_a", "completion_b")


def next_for(
    *, project: Project, user: User, kind: str | None = None, languages: Sequence[str] | None = None
) -> Assignment | None:
    """Return the item that `user` should judge now: the one in their hands, else a new one, else None. `languages` are
    those that they read a moment ago, where these are known: they spare a trip to Postgres.

    Raises Refused when the user may not judge here or the project does not ask for `kind`, and `gates.NotYet` when
    something comes before the next item.
    """
    if not can_lock_together():
        member = prerequisites.member_of(project, user)
        kinds = kinds_to_try(project, kind)
    with within_transaction():
        if can_lock_together():
            likely = [] if languages is None else _only_kind(project, kind)
            first = [each for only in likely for each in questions_of_first(project, user, only, languages or ())]
            look, urgent, (members, *found) = share_and_look(
                project, user, prerequisites.member_question(project, user), *first
            )
            member = prerequisites.admitted(members, project, user)
            kinds = kinds_to_try(project, kind)
            known = found if look.languages == languages else []
            if assignment := _draw_together(project, member, user, kinds, look, urgent, known):
                return assignment
            give_back()
        look = lock_and_look(project, user)
        held = held_by(project, user, kinds).first() if look.holds_something else None
        if held is not None and not held.is_ahead:
            return held
        prerequisites.check(project, member)
        if held is not None:  # nobody was shown it yet: it may be on its way all the same
            held = held_by(project, user, kinds).filter(pk=held.pk).free().first()
        assignment = held or draw(project, user, kinds, look) or _draw_from_others(project, user, kinds)
        if assignment is not None and assignment.is_ahead:
            hand_over(assignment)
        return assignment


def _draw_together(
    project: Project,
    member: Membership | None,
    user: User,
    kinds: list[str],
    look: Look,
    urgent: list[UrgentPair],
    found: Sequence[list[Any]],
) -> Assignment | None:
    """Return the item in the user's hands, or the next item of the queue, while others draw other ones; None where it
    takes more than that. `found` is the first entry of the only kind with what is there of its prompt, where that was
    asked for."""
    if look.holds_something and (held := held_by(project, user, kinds).first()) and not held.is_ahead:
        return held
    if not look.is_plain or not kinds or urgent:
        return None
    prerequisites.check(project, member)
    kind = _in_turn(kinds, look.handed_out)[0]
    choice = choose_together(project=project, user=user, kind=kind, languages=look.languages, found=found)
    if choice is None:
        return None
    return _measure(project, user, kind, look.languages) or _hand_out_chosen(project, user, kind, choice)


def _only_kind(project: Project, kind: str | None) -> list[str]:
    """Return the kind of the next item in a list, where it is known before anything is looked at; else none."""
    asked_kinds = kinds_asked(project)
    kinds = asked_kinds if kind is None else [each for each in asked_kinds if each == kind]
    return kinds if len(kinds) == 1 else []


def draw(project: Project, user: User, kinds: list[str], look: Look) -> Assignment | None:
    """Return an item that is not in the user's hands yet; None when there is none. Hold the project's lock."""
    pairs = urgent_pairs(project)
    if look.has_stale:
        expire_stale(project)
    if look.has_ahead and (unseen := reopen_unseen(project, user, kinds, look.languages)):
        return unseen
    if look.has_stale or look.has_changes:
        queue.take_in(project, reserved_in(pairs))
    kinds = _in_turn(kinds, look.handed_out)
    if look.has_reserved and (own_work := _next_reserved(project, user, kinds, pairs, look)):
        return own_work
    pairs = without_others(pairs, user)
    assignment = _next(project, user, kinds, pairs, look)
    # Nothing: perhaps because the queue has not heard of something yet.
    while assignment is None and queue.take_in(project, reserved_in(pairs)):
        assignment = _next(project, user, kinds, pairs, look)
    return assignment


def _draw_from_others(project: Project, user: User, kinds: list[str]) -> Assignment | None:
    """Draw from what only waits in other people's browsers: whoever asks now comes before what is needed later."""
    others = project.assignments.filter(user__is_simulated=user.is_simulated, kind__in=kinds, is_ahead=True)
    own = Assignment.objects.filter(user=user, item=OuterRef("item"))
    waiting = others.exclude(user=user).filter(~Exists(own), state=Assignment.State.OPEN).order_by("-id")
    readable = member_languages.within(waiting, member_languages.languages_of(project, user))
    for pk in readable.values_list("pk", flat=True)[:MOST_TAKEN_BACK]:
        put_back(project, others.filter(pk=pk))
        if assignment := draw(project, user, kinds, lock_and_look(project, user)):
            return assignment
    return None


def _next(project: Project, user: User, kinds: list[str], pairs: list[UrgentPair], look: Look) -> Assignment | None:
    languages = look.languages
    readable_pairs = in_languages(pairs, languages)
    for each in sorted(kinds, key=lambda kind: kind != COMPARE):
        if item := choose_urgent(pairs=readable_pairs, project=project, user=user, kind=each):
            return _hand_out_aside(project, user, each, item)
    for each in kinds:
        if choice := choose(project=project, user=user, kind=each, pairs=pairs, languages=languages):
            if measure := _measure(project, user, each, languages):
                return measure
            if look.has_priorities and (item := priorities.choose_uncertain(project, user, each, languages)):
                return _hand_out_aside(project, user, each, item)
            return _hand_out_chosen(project, user, each, choice)
    return None


def _next_reserved(
    project: Project, user: User, kinds: list[str], pairs: list[UrgentPair], look: Look
) -> Assignment | None:
    """Hand out what a manager has given to this person, in whatever language, however often others have annotated
    it."""
    asked, left_out = kinds_asked(project), reserved_in(pairs)
    found = choose_reserved(project=project, user=user, kinds=kinds, asked=asked, left_out=left_out)
    if found is None:
        return None
    if measure := _measure(project, user, found.kind, look.languages):
        return measure
    if found.run_out:
        assignment = project.assignments.select_related(*_SHOWN).get(pk=found.run_out)
        reopen(assignment)
        return assignment
    if not found.is_exclusive:
        queue.changed(project.pk, [found.item.prompt_id])
    return hand_out(project, user, found.kind, found.item)


def _measure(project: Project, user: User, kind: str, languages: Sequence[str]) -> Assignment | None:
    """Return, now and then, in the place of a real item, one that measures the annotator. Only while there are real
    ones."""
    draw = _lot.random() * 100
    if draw < project.gold_percent and (gold_item := gold.draw(project, user, kind, languages)):
        return hand_out_gold(project, user, gold_item, _Purpose.GOLD)
    draw -= project.gold_percent
    if kind == COMPARE and 0 <= draw < project.repeat_percent and (earlier := repeats.draw(project, user, languages)):
        return _hand_out_mirrored(project, user, earlier)
    return None


def _hand_out_chosen(project: Project, user: User, kind: str, choice: Choice) -> Assignment:
    """Move the queue's entry on with it: how often its prompt is annotated is known here."""
    moved_on = Asked(_MOVE_ON[level_column(user)], [choice.level, random.random(), choice.entry.pk], None)
    answers = [choice.answers[pk] for pk in choice.item.completion_ids]
    return _create(
        project, user, kind, choice.item, choice.entry.prompt, answers, moved_on, leads=choice.leads, id=choice.new_id
    )


def _hand_out_aside(project: Project, user: User, kind: str, item: Item) -> Assignment:
    """Hand out an item that the queue did not choose."""
    queue.changed(project.pk, [item.prompt_id])
    return hand_out(project, user, kind, item)


def _hand_out_mirrored(project: Project, user: User, earlier: Assignment) -> Assignment:
    assert earlier.completion_a and earlier.completion_b  # a constraint of comparing assignments
    count_swapped(project, user, earlier.completion_b, earlier.completion_a)
    return Assignment.objects.create(
        **_common(project, user, COMPARE, earlier.prompt, earlier.item),
        completion_a=earlier.completion_b,
        completion_b=earlier.completion_a,
        purpose=_Purpose.REPEAT,
        repeats=earlier,
    )


def hand_out_gold(project: Project, user: User, gold_item: GoldItem, purpose: str) -> Assignment:
    """Return an item whose right answer is known, with its sides drawn like any other's. Hold the project's lock."""
    ids = tuple(sorted(pk for pk in (gold_item.completion_a_id, gold_item.completion_b_id) if pk))
    return hand_out(project, user, gold_item.kind, Item(gold_item.prompt_id, ids), purpose=purpose, gold=gold_item)


def hand_out(project: Project, user: User, kind: str, item: Item, **fields: Any) -> Assignment:
    """Hold the project's lock. `fields` say what it is for, where it is not work."""
    answers = Completion.objects.in_bulk(item.completion_ids)
    prompt = Prompt.objects.get(pk=item.prompt_id)
    return _create(project, user, kind, item, prompt, [answers[pk] for pk in item.completion_ids], **fields)


def _create(
    project: Project,
    user: User,
    kind: str,
    item: Item,
    prompt: Prompt,
    answers: list[Completion],
    *beside: Asked,
    leads: Leads | None = None,
    **fields: Any,
) -> Assignment:
    """Create an assignment. `answers` of the item are at hand; the assignment keeps them, so that whoever shows it need
    not ask again. What is to be written `beside` it goes to the database with it: with the COMMIT where its id is known
    by then."""
    a = b = None
    if kind == COMPARE:
        a, b, counted = in_order(project, user, answers[0], answers[1], leads)
        beside = (*beside, counted)
    elif kind == RATE:
        (a,) = answers
    assignment = Assignment(
        **_common(project, user, kind, prompt, item.key),
        completion_a=a,
        completion_b=b,
        shown=shuffled(item.completion_ids) if kind == RANK else [],
        **fields,
    )
    if assignment.pk is None:
        ask(*beside, insert(assignment))
    else:
        insert_at_commit(assignment, *beside)
    return assignment


def _common(project: Project, user: User, kind: str, prompt: Prompt, key: str) -> dict:
    return {
        "project": project,
        "user": user,
        "kind": kind,
        "prompt": prompt,
        "item": key,
        "expires_at": timezone.now() + timedelta(minutes=project.assignment_minutes),
    }


def held_by(project: Project, user: User, kinds: list[str]) -> AssignmentQuerySet:
    """Return the items in hand, the oldest first: what was undone or sent back comes before what was handed out after
    it, and what nobody has been shown yet comes last."""
    own_assignments = project.assignments.live().filter(user=user, kind__in=kinds)
    # These have pages of their own; so have reviews.
    own_assignments = own_assignments.exclude(purpose__in=[_Purpose.TUTORIAL, _Purpose.ADJUDICATION])
    own_assignments = own_assignments.exclude(is_review=True)
    return own_assignments.select_related(*_SHOWN).order_by("is_ahead", "id")


def kinds_asked(project: Project) -> list[str]:
    """Return the kinds of items that the project asks for."""
    return [kind for kind, switch in ASKED.items() if getattr(project, switch)]


def kinds_to_try(project: Project, kind: str | None) -> list[str]:
    """Return the kinds to hand out: the one that is asked for, else all of the project's. Raises Refused for a kind
    that the project does not ask for."""
    asked_kinds = kinds_asked(project)
    if kind is None:
        return asked_kinds
    if kind not in asked_kinds:
        raise Refused(
            kind=f"{project.name} does not ask for {kind!r}; use {' or '.join(asked_kinds) or 'another project'}."
        )
    return [kind]


def _in_turn(texts: list[str], handed_out: int) -> list[str]:
    """Order the kinds in short runs of one kind."""
    turn = handed_out // RUN_OF_ONE_KIND % max(1, len(texts))
    return texts[turn:] + texts[:turn]
