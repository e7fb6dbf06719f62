"""Flag an item to the reviewers; the item stays with its annotator."""

from __future__ import annotations

from django.db import transaction

from annotate.core.errors import Refused
from annotate.core.permissions import require
from annotate.labelling.actions import UNDO_REASON, change_status
from annotate.labelling.assignment_lifecycle import require_owner
from annotate.labelling.forms.storage import STANDING
from annotate.labelling.forms.validation import MAX_COMMENT_CHARACTERS, check_text
from annotate.models import Assignment, Completion, Flag, Status, User
from annotate.models.feedback import annotator_kind_of

REASONS = (
    "Offensive or unsafe",
    "Personal data in it",
    "Broken or cut off",
    "Off topic",
    "Names the model that wrote it",
    "Copied from elsewhere",
)
MAX_REASON_CHARACTERS = 200


def flag(
    *, assignment: Assignment, by: User, reason: str, completion: Completion | None = None, comment: str = ""
) -> Flag:
    """Flag the prompt, or one completion shown. The same flag raised twice is one."""
    require_owner(assignment, by)
    require(by, "judge", assignment.project)
    check_text("reason", reason, MAX_REASON_CHARACTERS)
    check_text("comment", comment, MAX_COMMENT_CHARACTERS)
    reason, comment = reason.strip(), comment.strip()
    if not reason:
        raise Refused(reason="Enter in a few words what is wrong; reviewers need it.")
    if completion is not None and completion not in assignment.completions:
        raise Refused(completion="That answer is not part of this item; flag one of those shown, or the prompt.")
    about = {"assignment": assignment, "author": by, "completion": completion, "reason": reason}
    earlier = Flag.objects.filter(**about, comment=comment, status__in=STANDING).first()
    return earlier or Flag.objects.create(
        project=assignment.project,
        prompt_id=assignment.prompt_id,
        judge=annotator_kind_of(by),
        comment=comment,
        **about,
    )


def take_back(*, assignment: Assignment, by: User, flag_id: int | None = None) -> int:
    """Withdraw one's own flag of an item, or all of them; return how many. The rows stay, as withdrawn."""
    require_owner(assignment, by)
    require(by, "judge", assignment.project)
    with transaction.atomic():
        assignment.project.lock()
        own_flags = Flag.objects.filter(assignment=assignment, author=by, status__in=STANDING).select_related("project")
        standing = list(own_flags.filter(pk=flag_id) if flag_id else own_flags)
        if not standing:
            raise Refused(409, flag="You have no open flag on this item; you may have taken it back already.")
        return change_status(standing, Status.WITHDRAWN, UNDO_REASON, by)
