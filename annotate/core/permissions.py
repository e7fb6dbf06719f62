"""Decide who may do what in a project. A role does not see what it may not do, and the server refuses it."""

from __future__ import annotations

from allauth.mfa.models import Authenticator
from django.contrib.auth.models import AnonymousUser
from django.db.models import Exists, Q, QuerySet

from annotate.core.db.prepared import Prepared, Slot
from annotate.core.errors import Refused, SecondFactorMissing
from annotate.core.logs import context as log_context
from annotate.models import ApiToken, LanguageModel, Membership, Project, Role, User

Person = User | AnonymousUser

_JUDGE = {Role.ANNOTATOR, Role.REVIEWER, Role.RESEARCHER, Role.MANAGER}
_REVIEW = {Role.REVIEWER, Role.RESEARCHER, Role.MANAGER}
_RESEARCH = {Role.RESEARCHER, Role.MANAGER}
ROLES_FOR = {
    "judge": _JUDGE,
    "review": _REVIEW,  # read others' feedback
    "research": _RESEARCH,  # freeze datasets, start and stop runs, register models
    "manage": {Role.MANAGER},  # settings, members, statuses
}

# What a token of that scope may do at most; its owner's role bounds it, too.
_SCOPES: dict[str, set[str]] = {
    ApiToken.Scope.READ: {"read"},
    ApiToken.Scope.JUDGE: {"read", "judge"},
    ApiToken.Scope.RESEARCH: {"read", "judge", "review", "research"},
}

_role = Prepared(lambda: Membership.objects.filter(project=Slot("project"), user=Slot("user")).values_list("role"))


def in_scope(user: Person, action: str) -> bool:
    """Return whether the token of this request, if it came with one, may do `action` at all."""
    scope = _scope(user)
    return scope not in _SCOPES or action in _SCOPES[scope]


def _scope(user: Person) -> str:
    return user.token_scope if isinstance(user, User) else ""


def lacks_second_factor(user: Person, project: Project) -> bool:
    """Return whether the project wants a second factor of its members, and this person has none. It costs a query in
    such projects alone. Superusers need one, too."""
    return project.needs_second_factor and isinstance(user, User) and not user.has_second_factor


def require_second_factor(user: Person, project: Project) -> None:
    """Raise SecondFactorMissing where nothing else keeps this person out of the project: others learn nothing of it."""
    if not lacks_second_factor(user, project):
        return
    assert isinstance(user, User)
    if user.is_superuser or _role.first(project=project.pk, user=user.pk) is not None:
        raise SecondFactorMissing(
            403,
            second_factor=f"{project.name} is for members with a second factor. Set one up under Your account → Set up "
            "a second factor; then go on here.",
        )


def can(user: Person, action: str, project: Project, *, role: str | None = None) -> bool:
    """Return whether the person may do `action`, one of ROLES_FOR or "read": public projects are read by anyone, others
    by their members. Whoever lacks the second factor that the project wants may do what visitors may. `role` is theirs
    in the project, where it was read already."""
    if not in_scope(user, action):
        return False
    if lacks_second_factor(user, project):
        return action == "read" and project.is_public
    if user.is_superuser or (action == "read" and project.is_public):
        return True
    if not user.is_authenticated:
        return False
    if role is None and (row := _role.first(project=project.pk, user=user.pk)):
        (role,) = row
    return role is not None and (action == "read" or role in ROLES_FOR[action])


def held_rights(user: Person, project: Project) -> frozenset[str]:
    """Return the words of rights that the person holds in a project: `can` for all actions at once, and `mine` as for
    a row of their own."""
    if not user.is_authenticated:
        return frozenset({"anybody", "read"} if project.is_public and in_scope(user, "read") else {"anybody"})
    actions = {"read"} if project.is_public else set()
    if lacks_second_factor(user, project):
        pass
    elif user.is_superuser:
        actions = {"read", *ROLES_FOR}
    elif role := _role.first(project=project.pk, user=user.pk):
        actions = {"read", *(action for action, roles in ROLES_FOR.items() if role[0] in roles)}
    account = {"anybody", "account", "mine", *(["staff"] if user.is_staff else [])}
    return frozenset(account | {action for action in actions if in_scope(user, action)})


def require(user: Person, action: str, project: Project, *, role: str | None = None) -> None:
    """Refuse whoever may not do `action` in the project, as `can` says."""
    log_context.add(project_id=project.pk)
    if not in_scope(user, action):
        raise Refused(
            403,
            token=f"This token has the scope {_scope(user)}, which does not allow it to {action}; create one with a "
            "wider scope under Your account → API tokens.",
        )
    if not can(user, action, project, role=role):
        require_second_factor(user, project)
        roles = "a member" if action == "read" else " or ".join(sorted(ROLES_FOR[action]))
        raise Refused(403, project=f"You need the role {roles} in {project.name}; ask one of its managers.")


def is_vouched_for(user: Person, project: Project) -> bool:
    """Return whether somebody has let this member in, who answers for them. Where all may sign up, only reviewers
    are."""
    return can(user, _vouching(project), project)


def vouched_members(project: Project) -> QuerySet[Membership, int]:
    """Return the ids of the members for whom `is_vouched_for` holds; superusers need no membership and are left out."""
    roles = ROLES_FOR[_vouching(project)]
    return Membership.objects.filter(project=project, role__in=roles).values_list("user", flat=True)


def _vouching(project: Project) -> str:
    return "review" if project.open_sign_up else "judge"


def projects_where(user: Person, action: str) -> QuerySet[Project]:
    """Return the projects in which this person may do `action`: `can`, for a whole list at once."""
    projects = Project.objects.all()
    if not in_scope(user, action):
        return projects.none()
    lets_in = _lets_in(user)
    if user.is_superuser:
        return projects.filter(lets_in | Q(is_public=True)) if action == "read" else projects.filter(lets_in)
    members = Q()
    if user.is_authenticated:
        is_member = Q(memberships__user=user) & lets_in
        members = is_member if action == "read" else is_member & Q(memberships__role__in=ROLES_FOR[action])
    if action == "read":
        return projects.filter(Q(is_public=True) | members).distinct()
    return projects.filter(members).distinct() if members else projects.none()


def _lets_in(user: Person) -> Q:
    """Return the condition of projects whose wish for a second factor this person meets: `lacks_second_factor`, without
    a query of its own."""
    if not isinstance(user, User) or user.is_simulated:
        return Q()
    has_one = Authenticator.objects.filter(user=user.pk, type=Authenticator.Type.TOTP)
    return Q(needs_second_factor=False) | Q(Exists(has_one))


def models_seen(user: Person) -> QuerySet[LanguageModel]:
    """Return the models of the projects that this person may see; for researchers also what is shared with all
    projects."""
    models = LanguageModel.objects.all()
    if user.is_superuser:
        return models
    if projects_where(user, "research").exists():
        return models.usable_in(*projects_where(user, "read"))
    return models.of_projects(projects_where(user, "read"))
