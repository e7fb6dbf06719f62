"""What changes the evaluation's data."""

from __future__ import annotations

from annotate.errors import Refused
from annotate.models import LanguageModel, Project, User
from annotate.permissions import require
from evaluation.leaderboard import current, default_judge
from evaluation.models import Promotion


def promote(*, project: Project, model: LanguageModel, reason: str, by: User) -> Promotion:
    """Serve `model` as the project's default from now on, with the leaderboard of this moment as the evidence."""
    require(by, "manage", project)
    if model.kind != LanguageModel.Kind.POLICY:
        raise Refused(400, model=f"{model} is a reward model and cannot answer; choose a policy model.")
    if model.retired_at is not None:
        raise Refused(409, model=f"{model} is retired; choose a model that is still served.")
    if not model.contests.filter(project=project, left_at=None).exists():
        raise Refused(400, model=f"{model} is not in the arena of {project}; enter it there first.")
    if not reason.strip():
        raise Refused(400, reason="Say in a few words why this model is to be served, for those who come after.")
    board = current(project=project, judge=default_judge(project))
    evidence = board if board.pk else None
    return Promotion.objects.create(
        project=project, model=model, leaderboard=evidence, reason=reason.strip(), promoted_by=by
    )


def promoted(project: Project) -> Promotion | None:
    """The promotion in force."""
    return project.promotions.select_related("model").first()
