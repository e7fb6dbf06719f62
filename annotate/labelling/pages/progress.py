"""Say where an annotator is: which item of the day or of a package, what is left, and what was just sent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.db.models import Count, Q
from django.utils import timezone

from annotate.labelling.forms.feedback_text import describe_feedback
from annotate.labelling.forms.verdicts import VERDICTS, value_of
from annotate.models import Assignment, Comparison, Demonstration, Project, ReservedPrompt, User
from annotate.models.feedback import Feedback

_LABELS = {verdict.value: verdict.label for verdict in VERDICTS}
_State = ReservedPrompt.State
_NOT_THE_DAYS = (Assignment.Purpose.TUTORIAL, Assignment.Purpose.ADJUDICATION)


@dataclass(frozen=True)
class Position:
    """What is shown is number `number` of `total`: of the day's items, or of a package's prompts. 0 in total: no
    goal."""

    number: int
    total: int
    package: str = ""

    @property
    def words(self) -> str:
        of_total = f"{self.number} of {self.total}" if self.number <= self.total else str(self.number)
        if self.package:
            return f"prompt {of_total} in {self.package}, {self.total - self.number + 1} left"
        return f"{of_total} today"


def position_of(assignment: Assignment, done_today: int, before: Sequence[Assignment] = ()) -> Position | None:
    """Return where an item stands: in its package if it was given to this person, else in their day. `before` are items
    in their hands that come before it.

    None for a lesson and for a decision, which are no part of the day's work.
    """
    if assignment.purpose in _NOT_THE_DAYS:
        return None
    if package := _package_of(assignment, before):
        name, given, passed = package
        return Position(min(passed + 1, given), given, name)
    return Position(done_today + len(before) + 1, assignment.project.daily_goal)


def _package_of(assignment: Assignment, before: Sequence[Assignment]) -> tuple[str, int, int] | None:
    """Return the name of the package that the item's prompt belongs to, how many prompts were given, and how many are
    done or come before."""
    own_rows = ReservedPrompt.objects.filter(user=assignment.user_id, project=assignment.project_id)
    own_rows = own_rows.exclude(state=_State.RELEASED)
    own_rows = own_rows.exclude(state=_State.OPEN, prompt__out_since__isnull=False)  # nobody will do these
    packages = own_rows.filter(prompt=assignment.prompt_id, state=_State.OPEN).values("package")
    of_package = own_rows.filter(package__in=packages).order_by("package__name").values_list("package__name")
    earlier_prompts = {each.prompt_id for each in before} - {assignment.prompt_id}
    is_passed = Q(state=_State.DONE) | Q(state=_State.OPEN, prompt__in=earlier_prompts)
    return of_package.annotate(given=Count("pk"), passed=Count("pk", filter=is_passed)).first()


def done_today(project: Project, user: User) -> int:
    midnight = timezone.localtime().replace(hour=0, minute=0, second=0, microsecond=0)
    done = project.assignments.filter(user=user, state="submitted", closed_at__gte=midnight)
    return done.exclude(purpose__in=_NOT_THE_DAYS).count()


def describe_sent(row: Feedback) -> str:
    """Return what was sent in the words of its button: "A is better"."""
    if isinstance(row, Comparison) and not row.ranking_id:
        return _LABELS.get(value_of(row.winner, row.strength), describe_feedback(row))
    if isinstance(row, Demonstration):
        return "your answer"
    return describe_feedback(row)
