"""Show votes one by one: what was said of which answers, and the way from there to what it trained."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from django.contrib import messages
from django.db.models import OuterRef, QuerySet, Subquery
from django.http import Http404, HttpRequest, HttpResponse, QueryDict
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse

from annotate.core.errors import Refused
from annotate.core.page_access import MemberRequest, in_project, refused_page
from annotate.core.permissions import Person, can
from annotate.data import feedback_lineage, rankings
from annotate.labelling.actions import SET_BY_MANAGERS, set_status
from annotate.labelling.forms.feedback_text import describe_feedback, letters_of
from annotate.labelling.records import battle_filter
from annotate.models import (
    AnnotatorKind,
    Comparison,
    Completion,
    Demonstration,
    LanguageModel,
    Project,
    Ranking,
    Split,
    Status,
)
from annotate.projects.wellbeing import actions as harm_budget
from common.whole_numbers import row_id


@in_project(get="read")
def votes_page(request: HttpRequest, project: Project) -> HttpResponse:
    """Show votes one by one, with what each went into."""
    try:
        filters = _filters(request.GET, project)
    except Refused as refused:
        return refused_page(request, refused, project=project)
    is_of_battles = "pair" in filters
    visible_rows = {
        kind: feedback_lineage.visible(kind, project=project, user=request.user, each_pair=is_of_battles)
        for kind in feedback_lineage.KINDS
    }
    reviews = can(request.user, "review", project)
    rows = {
        kind: _filtered(filtered, kind, filters, None if reviews else request.user)
        for kind, filtered in visible_rows.items()
    }
    numbers = {kind: battle_filter.counted(parts) for kind, parts in rows.items()}
    kind = request.GET.get("kind", "")
    if kind not in rows:
        kind = next((k for k, n in numbers.items() if n), "comparison")
    before = row_id(request.GET.get("before", "")) or None
    keys = battle_filter.page_of(rows[kind], before)
    of_page = feedback_lineage.KINDS[kind].objects.filter(pk__in=keys.ids)
    page = list(feedback_lineage.with_lineage(of_page, kind).order_by("-id"))
    completions = feedback_lineage.ranked_completions(page) if kind == "ranking" else {}
    named_ids = {row.pk for row in page} if reviews else _rows_with_names(page, kind, request.user)
    is_harmful = any(row.prompt.harm for row in page)
    agreed = harm_budget.readable(request.user) if is_harmful else ()
    context = {
        "project": project,
        "kind": kind,
        "kinds": [(k, feedback_lineage.TITLES[k], numbers[k]) for k in rows],
        "older": keys.older,
        "is_first": before is None,
        "most_counted": battle_filter.MOST_COUNTED,
        "all_battles": _all_battles(project, filters) if kind == "comparison" else None,
        "cards": [_card(row, reviews, request.user, completions, named_ids) | _harm(row, agreed) for row in page],
        "blur": is_harmful and harm_budget.blurs(request.user),
        "reviews": reviews,
        "manages": can(request.user, "manage", project),
        "asked": filters,
        "datasets": project.datasets.exclude(kind="prompts"),
        "models": _models(project).order_by("name"),
        "judges": AnnotatorKind.choices,
        "statuses": Status.values,
        "new_statuses": SET_BY_MANAGERS,
        "sides": Split.values,
        "query": _query(request.GET),
    }
    return render(request, "annotate/labelling/votes.html", context)


@in_project(post="manage")
def vote_status(request: MemberRequest, project: Project, kind: str, pk: int) -> HttpResponse:
    """Hold, exclude or count one vote, with a reason; it is never edited."""
    if kind not in feedback_lineage.KINDS:
        raise Http404(f"There is no kind of vote called {kind}.")
    row = get_object_or_404(feedback_lineage.KINDS[kind], project=project, pk=pk)
    status = request.POST.get("status", "")
    try:
        set_status(rows=[row], status=status, reason=request.POST.get("reason", ""), by=request.user)
    except Refused as refused:
        return refused_page(request, refused, project=project)
    messages.success(request, f"The {kind} is now {status}. The ledger records who changed it and why.")
    query = _query(request.GET)
    return redirect(f"{reverse('votes', args=[project.slug])}?kind={kind}{'&' if query else ''}{query}#{kind}-{pk}")


def _models(project: Project) -> QuerySet[LanguageModel]:
    """Return those that have answered here."""
    answers = Completion.objects.filter(model=OuterRef("pk"), prompt__project=project)
    one = Subquery(answers.order_by().values("pk")[:1])  # for EXISTS Postgres joins, and reads all answers
    return LanguageModel.objects.alias(answer=one).filter(answer__isnull=False)


def _filters(query: QueryDict, project: Project) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name, values in (("judge", AnnotatorKind.values), ("status", Status.values), ("side", Split.values)):
        if value := query.get(name):
            if value not in values:
                raise Refused(400, **{name: f"{value!r} is unknown; use one of {', '.join(values)}."})
            fields[name] = value
    for name, queryset in (("dataset", project.datasets.all()), ("model", _models(project))):
        if value := query.get(name):
            fields[name] = queryset.filter(pk=row_id(value)).first()
            if fields[name] is None:
                raise Refused(404, **{name: f"There is no {name} {value} here; choose one from the list."})
    if value := query.get("pair"):
        fields["pair"] = battle_filter.parse_battles(value, _models(project))
    return fields


def _all_battles(project: Project, fields: dict[str, Any]) -> int | None:
    """Return how many battles of a pair the leaderboard counts, whoever may see them one by one; None of others."""
    is_public = fields.get("side") == Split.EVAL and fields.get("status") == Status.COUNTED and "dataset" not in fields
    if "pair" not in fields or not is_public:
        return None
    return battle_filter.counted(_filtered(Comparison.objects.filter(project=project), "comparison", fields, None))


def _rows_with_names(page: Sequence[Any], kind: str, user: Person) -> set[int]:
    rows = feedback_lineage.KINDS[kind].objects.filter(pk__in=[row.pk for row in page])
    return set(feedback_lineage.naming_authors(rows, kind, user=user).values_list("pk", flat=True))


def _filtered(rows: Any, kind: str, fields: dict[str, Any], reader: Person | None) -> list[Any]:
    """Return the rows that fit the form, in parts that have no row in common. `reader`: whoever may not review."""
    for name, path in (("judge", "judge"), ("status", "status"), ("side", "prompt__side"), ("dataset", "datasets")):
        if name in fields:
            in_none = kind == "flag" and name == "dataset"  # a flag teaches nothing
            rows = rows.none() if in_none else rows.filter(**{path: fields[name]})
    if "model" not in fields and "pair" not in fields:
        return [rows]
    # The filter must not tell what the cards keep to themselves.
    readable = rows if reader is None else feedback_lineage.naming_authors(rows, kind, user=reader)
    if "model" in fields:
        readable = feedback_lineage.of_model(readable, kind, fields["model"].pk)
    if "pair" not in fields:
        return [readable]
    return fields["pair"].parts(readable) if kind == "comparison" else []


def _query(query: QueryDict) -> str:
    """Return the query of the filters, for links to another kind or page."""
    filters = QueryDict(mutable=True)
    for name in ("judge", "status", "side", "dataset", "model", "pair"):
        if query.get(name):
            filters[name] = str(query[name])
    return filters.urlencode()


def _card(
    row: Any, reviews: bool, user: Any, completions: dict[int, Completion], numbers: Collection[int]
) -> dict[str, Any]:
    """Return a vote as the page shows it: what was said of which answers, by whom, and what it went into.

    `numbers` are the rows whose answers may be named. Of the others somebody may still meet the same answer, and
    annotate blind.
    """
    is_own = user.is_authenticated and row.author_id == user.pk
    author_name = row.author.username if row.author and (reviews or is_own) else ""
    reason = row.status_reason if reviews or is_own else ""  # it may name people
    return {
        "row": row,
        "said": describe_feedback(row),
        "who": author_name,
        "reason": reason,
        "names": row.pk in numbers,
        "answers": _answers(row, completions),
        "went": feedback_lineage.went_into(row),
    }


def _harm(row: Any, agreed: Collection[str]) -> dict[str, Any]:
    return {"withheld": not set(row.prompt.harm.split()) <= set(agreed)}


def _answers(row: Any, completions: dict[int, Completion]) -> list[dict[str, Any]]:
    if isinstance(row, Comparison):
        return [
            {"letter": "A", "completion": row.completion_a, "won": row.winner == "model_a"},
            {"letter": "B", "completion": row.completion_b, "won": row.winner == "model_b"},
        ]
    if isinstance(row, Ranking):
        letters = letters_of(row)
        return [
            {"letter": letters.get(pk, ""), "place": position, "completion": completions[pk], "won": position == 1}
            for pk, position in rankings.places(row.order).items()
            if pk in completions
        ]
    if isinstance(row, Demonstration):
        return [{"letter": "", "text": row.text, "completion": row.edited_from, "won": False}]
    if row.completion is None:
        return []  # a flag on the prompt
    return [{"letter": "", "completion": row.completion, "won": False}]
