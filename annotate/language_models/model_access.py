"""Decide whom a model is shown to, in which project's frame, and who may talk with it by name."""

from __future__ import annotations

from django.db.models import Q
from django.http import Http404, HttpRequest

from annotate.core.errors import Refused
from annotate.core.permissions import Person, can, projects_where
from annotate.models import LanguageModel, Project, Role, User

_RELATED = (
    *("parent", "made_by__dataset", "made_by__reward_model", "made_by__project", "created_by"),
    *(f"kept_checkpoint__run__{name}" for name in ("dataset", "reward_model", "project")),
)


def find_model(request: HttpRequest, pk: int) -> tuple[LanguageModel, Project]:
    """Return the model, and the project in whose frame this person reads of it. Of other models nothing is disclosed:
    404."""
    model = LanguageModel.objects.select_related(*_RELATED).filter(pk=pk).first()
    project = home_of(request.user, model, request.GET.get("project", "")) if model else None
    if model is None or project is None:
        raise Http404("There is no such model, or you may not read its project.")
    return model, project


def home_of(person: Person, model: LanguageModel, slug: str = "") -> Project | None:
    """Return a project of the model that the person may read: the requested one, one that they research in, or a public
    one.

    What is shared with all projects is read of by researchers in a project of their own. None: nowhere.
    """
    research = projects_where(person, "research")
    research_ids = set(research.values_list("pk", flat=True))
    related = {project.pk: project for project in projects_where(person, "read").filter(related_to(model)).distinct()}
    own_projects = {project.pk: project for project in research} if model.is_shared else {}
    candidates = [*{**own_projects, **related}.values()]

    def rank(project: Project) -> tuple[bool | int, ...]:
        pk = project.pk
        return (project.slug != slug, pk not in research_ids, pk not in related, not project.is_public, pk)

    return min(candidates, key=rank, default=None)


def researched_home(person: Person, model: LanguageModel) -> Project:
    """Return the project of the model that this person researches in. Raises Refused for others."""
    home = home_of(person, model)
    if home is None or not can(person, "research", home):
        raise Refused(403, authorization="You need the role researcher or manager in its project; ask a manager.")
    return home


def related_to(model: LanguageModel) -> Q:
    """Return the projects that it competes in, was made or registered in, or was used in by a run."""
    return (
        Q(registered_models=model)
        | Q(contestants__model=model)
        | Q(runs__output_model=model)
        | Q(runs__kept_checkpoints__model=model)
        | Q(runs__parent=model)
        | Q(runs__reward_model=model)
        | Q(runs__other_reward_models=model)
    )


def require_talk(person: Person, model: LanguageModel, project: Project) -> None:
    """Require a researcher, who may talk with a policy by name. Raises Refused.

    Not with one whose answers they judge blind elsewhere: whoever knows how it writes would know it again.
    """
    if model.kind != LanguageModel.Kind.POLICY:
        raise Refused(400, model=f"{model.name} is a {model.kind} and does not answer; choose a policy.")
    if not projects_where(person, "research").filter(pk=project.pk).exists():
        raise Refused(
            403, project="You need the role researcher or manager, because annotators must not see model names."
        )
    blind_project = judged_blind(person, model)
    if blind_project is not None:
        raise Refused(
            403,
            project=f"You annotate answers of this model without names in {blind_project.name}; ask a manager "
            "there for another role.",
        )


def judged_blind(person: Person, model: LanguageModel) -> Project | None:
    """Return a project in which the model competes and the person judges and does no more."""
    if not isinstance(person, User) or person.is_superuser:
        return None
    judges = Q(memberships__user=person, memberships__role__in=[Role.ANNOTATOR, Role.REVIEWER])
    competes = Q(contestants__model=model, contestants__left_at=None)
    return Project.objects.filter(judges).filter(competes).order_by("pk").first()


def may_talk(person: Person, model: LanguageModel, project: Project) -> bool:
    try:
        require_talk(person, model, project)
    except Refused:
        return False
    return True
