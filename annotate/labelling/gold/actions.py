"""Make, change and retire gold items; the tutorial is made of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from django.db import transaction
from django.utils import timezone

from annotate.core import audit
from annotate.core.errors import Refused
from annotate.core.permissions import require
from annotate.labelling.queue.assigned_items import COMPARE, RATE
from annotate.models import Comparison, Completion, GoldItem, Project, Rating, Split, User, Winner
from common.texts import is_storable, percent
from common.whole_numbers import row_ids
from common.winners import swapped

LONGEST_EXPLANATION = 5000
FEWEST_FOR_CONSENSUS = 2
CONSENSUS = 0.75


def make(
    *,
    project: Project,
    by: User,
    completions: list[Completion],
    expected: dict[str, Any],
    explanation: str = "",
    is_tutorial: bool = False,
    position: int = 0,
) -> GoldItem:
    """Make a gold item: one answer to rate or two to compare; winners in `expected` are by the order of
    `completions`."""
    require(by, "manage", project)
    _check_answers(project, completions)
    kind = RATE if len(completions) == 1 else COMPARE
    item = GoldItem(
        project=project,
        kind=kind,
        prompt=completions[0].prompt,
        completion_a=completions[0],
        completion_b=completions[1] if kind == COMPARE else None,
        expected=checked_expectation(kind, expected),
        explanation=_checked_explanation(explanation),
        is_tutorial=is_tutorial,
        position=_checked_position(position),
        created_by=by,
    )
    _check_once(item)
    with transaction.atomic():
        item.save()
        audit.record(action="gold.made", about=_about(item), by=by, project=project, changes=_audit_changes({}, item))
    return item


def make_from_consensus(*, project: Project, by: User, key: str, **fields: Any) -> GoldItem:
    """Make a gold item from an item that people agree on: at least two, and three in four of them alike."""
    require(by, "manage", project)
    kind, _, ids = key.partition(":")
    numbers = row_ids(ids.split(":"))
    if kind not in (RATE, COMPARE) or len(numbers) != (1 if kind == RATE else 2):
        raise Refused(item=f"{key[:60]!r} is not an item; use compare:12:15 or rate:12.")
    completions_by_id = Completion.objects.filter(prompt__project=project).select_related("prompt").in_bulk(numbers)
    if len(completions_by_id) != len(numbers):
        raise Refused(item=f"{project} has no such answers: {key}.")
    completions = [completions_by_id[pk] for pk in sorted(numbers)]
    expected = fields.pop("expected", None) or consensus_of(completions)
    if expected is None:
        raise Refused(
            409,
            item=f"Annotators do not agree about {key}: at least {FEWEST_FOR_CONSENSUS} people and "
            f"{percent(CONSENSUS)} of all must give the same answer. Choose the right answer yourself.",
        )
    return make(project=project, by=by, completions=completions, expected=expected, **fields)


def consensus_of(completions: list[Completion]) -> dict[str, list] | None:
    """Return what most people said of it, as `expected`; None when too few agree."""
    if len(completions) == 2:
        a, b = completions
        rows = Comparison.objects.teaching().by("person")  # type: ignore[attr-defined]
        straight = rows.filter(completion_a=a, completion_b=b).values_list("winner", flat=True)
        crossed = rows.filter(completion_a=b, completion_b=a).values_list("winner", flat=True)
        return _agreed("winner", [*straight, *map(swapped, crossed)])
    ratings = Rating.objects.teaching().by("person").filter(completion=completions[0])  # type: ignore[attr-defined]
    stars = [n for n in ratings.values_list("stars", flat=True) if n]
    if stars:
        middle = sorted(stars)[len(stars) // 2]
        near_middle = [n for n in stars if abs(n - middle) <= 1]
        enough = len(stars) >= FEWEST_FOR_CONSENSUS and len(near_middle) / len(stars) >= CONSENSUS
        return {"stars": [n for n in (middle - 1, middle, middle + 1) if 1 <= n <= 5]} if enough else None
    return _agreed("thumbs", [up for up in ratings.values_list("thumbs", flat=True) if up is not None])


def change(*, item: GoldItem, by: User, **fields: Any) -> GoldItem:
    """Change the right answer, its explanation, its place in the tutorial. Earlier answers stay as they were scored."""
    require(by, "manage", item.project)
    old_values = _audit_fields(item)
    if "expected" in fields:
        item.expected = checked_expectation(item.kind, fields["expected"])
    if "explanation" in fields:
        item.explanation = _checked_explanation(fields["explanation"])
    if "is_tutorial" in fields:
        item.is_tutorial = bool(fields["is_tutorial"])
    if "position" in fields:
        item.position = _checked_position(fields["position"])
    with transaction.atomic():
        item.save()
        if changes := audit.differences(old_values, _audit_fields(item)):
            audit.record(action="gold.changed", about=_about(item), by=by, project=item.project, changes=changes)
    return item


def retire(*, item: GoldItem, by: User, back: bool = False) -> GoldItem:
    """Retire the item: nobody is asked it any more, earlier answers stay. `back` restores it."""
    require(by, "manage", item.project)
    if back:
        _check_once(item)
    with transaction.atomic():
        item.retired_at = None if back else item.retired_at or timezone.now()
        item.save(update_fields=["retired_at"])
        audit.record(
            action="gold.taken up" if back else "gold.retired", about=_about(item), by=by, project=item.project
        )
    return item


def checked_expectation(kind: str, expected: Any) -> dict[str, list]:
    """Return {field: [right values]}: winner of two; stars, thumbs and aspects.<name> of one."""
    allowed: dict[str, set] = (
        {"winner": set(Winner.values)} if kind == COMPARE else {"stars": set(range(1, 6)), "thumbs": {True, False}}
    )
    if not isinstance(expected, dict) or not expected:
        raise Refused(expected=f"Choose the right answer, such as {_example(kind)}.")
    for name, values in expected.items():
        is_aspect = (
            kind == RATE and str(name).startswith("aspects.") and len(str(name)) <= 48 and is_storable(str(name))
        )
        right_values: set | None = set(range(1, 6)) if is_aspect else allowed.get(name)
        if right_values is None:
            fields = ", ".join([*allowed, *(["aspects.<name>"] if kind == RATE else [])])
            raise Refused(expected=f"{str(name)[:40]!r} is not a field of this kind; the fields are {fields}.")
        if not isinstance(values, list) or not values or not all(_is_one_of(value, right_values) for value in values):
            raise Refused(expected=f"{name}: send a list of right values, such as {_example(kind)}.")
        if len(set(values)) == len(right_values):
            raise Refused(expected=f"{name}: all values are marked right; leave the field out.")
    return {name: sorted(set(values)) for name, values in expected.items()}


def _is_one_of(value: Any, right_values: set) -> bool:
    """Return whether the value is one of the right ones; True is no 1 here."""
    return not isinstance(value, list | dict) and any(
        value == right_value and type(value) is type(right_value) for right_value in right_values
    )


def _example(kind: str) -> str:
    return '{"winner": ["model_a"]}' if kind == COMPARE else '{"stars": [4, 5]}'


def _agreed(name: str, values: list[Any]) -> dict[str, list] | None:
    if len(values) < FEWEST_FOR_CONSENSUS:
        return None
    [(value, n)] = Counter(values).most_common(1)
    return {name: [value]} if n / len(values) >= CONSENSUS else None


def _check_answers(project: Project, completions: list[Completion]) -> None:
    if len(completions) not in (1, 2) or len({c.pk for c in completions}) != len(completions):
        raise Refused(completions="Choose one answer to rate, or two different answers to compare.")
    prompts = {c.prompt_id for c in completions}
    if len(prompts) != 1 or completions[0].prompt.project_id != project.pk:
        raise Refused(completions=f"Both answers must be to the same prompt of {project}.")
    if completions[0].prompt.side != Split.TRAIN:
        raise Refused(
            completions="The prompt is in the eval split, where votes rank models; choose one in the train split."
        )


def standing_item(project: Project, completion_ids: Sequence[int]) -> GoldItem | None:
    """Return the gold item, not retired, of one answer to rate or of two to compare."""
    rows = GoldItem.objects.filter(project=project, retired_at=None, completion_a__in=completion_ids)
    if len(completion_ids) == 1:
        return rows.filter(kind=RATE).first()
    return rows.filter(kind=COMPARE, completion_b__in=completion_ids).first()


def _check_once(item: GoldItem) -> None:
    ids = [pk for pk in (item.completion_a_id, item.completion_b_id) if pk]
    twin = standing_item(item.project, ids)
    if twin is not None and twin.pk != item.pk:
        raise Refused(409, completions=f"This is already gold item {twin.pk}; change that one.")


def _checked_explanation(text: Any) -> str:
    if not isinstance(text, str) or len(text) > LONGEST_EXPLANATION or "\x00" in text:
        raise Refused(explanation=f"Use a text of at most {LONGEST_EXPLANATION:,} characters.")
    return text.strip()


def _checked_position(number: Any) -> int:
    if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number <= 30_000:
        raise Refused(position="Use a whole number from 0 to 30,000; the smallest comes first.")
    return number


def _about(item: GoldItem) -> str:
    return f"gold item {item.pk}: {item.prompt.text[:80]}"


def _audit_fields(item: GoldItem) -> dict[str, Any]:
    return {name: getattr(item, name) for name in ("expected", "explanation", "is_tutorial", "position")}


def _audit_changes(old_values: dict[str, Any], item: GoldItem) -> dict[str, list[Any]]:
    return audit.differences(old_values, _audit_fields(item))
