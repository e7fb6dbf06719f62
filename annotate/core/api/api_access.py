"""Declare who may use an address of the API; refuse in one place whom the declaration does not name."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, ClassVar

from django.core.exceptions import ImproperlyConfigured
from rest_framework.decorators import api_view
from rest_framework.permissions import SAFE_METHODS, AllowAny, BasePermission, IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from annotate.core.api.lookup import find_project
from annotate.core.permissions import require
from annotate.core.rights import Rights, action_of, checked, declare, is_for_visitors
from annotate.models import Project

_HANDLERS = ("list", "retrieve", "create", "update", "partial_update", "destroy")


def allows(**rights: str) -> Callable:
    """Make an API view of a function and declare who may use it, a right for each method (`annotate.core.rights`).

    Visitors are refused where a right wants an account. What a right says of a row, the view refuses itself.
    """

    def decorate(view: Callable[..., Response]) -> Any:
        api: Any = api_view([method.upper() for method in checked(rights)])(view)
        api.cls.get_permissions = lambda self: _permissions(rights, self.request.method)
        declare(api, rights)
        return api

    return decorate


def in_project(**rights: str) -> Callable:
    """Do as `allows` for an address of a project; the view takes the project in place of its slug.

    A private project does not exist for others; a member without the role is told which role is needed.
    """
    actions = {method: action_of(right) for method, right in checked(rights).items()}

    def decorate(view: Callable[..., Response]) -> Any:
        @wraps(view)
        def with_project(request: Request, slug: str, **kwargs: Any) -> Response:
            project = find_project(request.user, slug)
            action = actions[(request.method or "").lower()]
            if action != "read":
                require(request.user, action, project)
            return view(request, project, **kwargs)

        return allows(**rights)(with_project)

    return decorate


class DeclaredViewSet(GenericViewSet):
    """Declare in `rights` who may use each of a viewset's actions: `{"list": "account", "create": "research"}`.

    Raises ImproperlyConfigured at import where an action has no right, or a right no action.
    """

    rights: ClassVar[Rights]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        offered = {name for name in _HANDLERS if hasattr(cls, name)}
        offered |= {name for extra in cls.get_extra_actions() for name in extra.mapping.values()}
        declared = getattr(cls, "rights", {})
        if wrong := offered ^ declared.keys():
            raise ImproperlyConfigured(f"{cls.__name__}.rights and its actions differ in {', '.join(sorted(wrong))}.")
        for right in declared.values():
            checked({"get": right})

    def get_permissions(self) -> list[BasePermission]:
        by_method = {method: self.rights[action] for method, action in self.action_map.items()}
        return _permissions(by_method, self.request.method)

    def require_role(self, project: Project) -> None:
        """Refuse whoever has not the role in this project that the right of the action under way names."""
        require(self.request.user, action_of(self.rights[self.action]), project)


def _permissions(rights: Rights, method: str | None) -> list[Any]:
    """Return what REST framework asks before the view; for a method that is not offered, what others but GET need."""
    name = "get" if method in SAFE_METHODS else (method or "").lower()
    if name in rights:
        is_open = is_for_visitors(rights[name])
    else:
        is_open = any(is_for_visitors(right) for other, right in rights.items() if other != "get")
    return [AllowAny()] if is_open else [IsAuthenticated()]
