"""The puzzle of a battle, for static/proof.js; see annotate/defence/proof_of_work.py."""

from __future__ import annotations

import uuid

from django.http import Http404, HttpRequest, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from annotate import visitors
from annotate.actions import arena, defence
from annotate.models import Battle, Project, User
from annotate.views.access import in_project


@never_cache
@require_GET
@in_project()
def puzzle(request: HttpRequest, project: Project, token: uuid.UUID) -> JsonResponse:
    """{"challenge": text}, or null where none is asked for or none can be given: the vote may be cast all the same."""
    user = request.user if isinstance(request.user, User) else None
    battle = Battle.objects.select_related("project").filter(project=project, token=token).first()
    if battle is None or not arena.belongs_to(battle, visitor=visitors.visitor_of(request), user=user):
        raise Http404("There is no such battle of yours.")
    address, wider = visitors.address_of(request), visitors.wider_of(request)
    return JsonResponse({"challenge": defence.puzzle(battle, user=user, address=address, wider=wider)})
