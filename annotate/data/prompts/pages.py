"""Show a project's prompts: the list with its search, and one prompt, to be edited or retired."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import HttpResponse, QueryDict
from django.shortcuts import get_object_or_404, redirect, render

from annotate.core.errors import Refused
from annotate.core.page_access import MemberRequest, in_project, refused_page
from annotate.core.permissions import can
from annotate.data.prompts import editing, listing, retirement
from annotate.data.prompts.listing import Filters
from annotate.models import Project, Prompt, Split
from annotate.projects.overview.loop_stations import prompt_counts
from annotate.projects.wellbeing import actions as harm_budget
from common.languages import language_tags
from common.texts import with_line_feeds
from common.whole_numbers import row_id

_ANSWERS_SHOWN = 10
_LONGEST_SEARCH = 200


@in_project(get="review")
def prompts(request: MemberRequest, project: Project) -> HttpResponse:
    filters = _filters(request.GET)
    page = listing.page_of(project, filters, row_id(request.GET.get("before", "")) or None)
    counts = prompt_counts(project)
    context = {
        "project": project,
        "filters": filters,
        "page": page,
        "rows": list(page.rows),
        "counts": counts,
        "empty": listing.empty_split(counts, project.eval_percent),
        "categories": listing.categories(project),
        "languages": listing.languages(project),
        "sides": Split.values,
        "states": listing.STATES,
        "query": _query(filters),
        "searched": listing.SEARCHED,
        "researches": can(request.user, "research", project),
        "manages": can(request.user, "manage", project),
    }
    return render(request, "annotate/data/prompts.html", context)


@in_project(get="review", post="research")
def prompt(request: MemberRequest, project: Project, pk: int) -> HttpResponse:
    """Show one prompt; POST changes its text, its category, its language or its right answer."""
    row = _prompt(project, pk)
    if request.method != "POST":
        return _show(request, row, _entered(row, None))
    entered = _entered(row, request.POST)
    try:
        if _is_withheld(request, row):
            raise Refused(403, messages="You have not agreed to see its kind of harm; change this first.")
        edited = editing.edit_prompt(
            prompt=row,
            by=request.user,
            messages=[{"role": role, "content": text} for _, role, text in entered["turns"]],
            category=entered["category"],
            language=entered["language"],
            answer=entered["answer"],
        )
    except Refused as refused:
        return _show(request, row, entered, refused)
    messages.success(request, _edit_message(row, edited))
    return redirect("prompt", project.slug, edited.prompt.pk)


@in_project(post="review")
def retire(request: MemberRequest, project: Project, pk: int) -> HttpResponse:
    """Retire a prompt, or bring it back."""
    row = _prompt(project, pk)
    goes_out = request.POST.get("do") != "back"
    try:
        retirement.decide(prompt=row, by=request.user, take_out=goes_out, reason=request.POST.get("reason", ""))
    except Refused as refused:
        return refused_page(request, refused, project=project)
    done = "retired. Annotators and runs no longer get it" if goes_out else "active again"
    messages.success(request, f"Prompt {pk} is {done}.")
    return redirect("prompt", project.slug, pk)


def _prompt(project: Project, pk: int) -> Prompt:
    rows = project.prompts.select_related("project", "created_by", "reviewed_by")
    return get_object_or_404(rows, pk=pk)


def _show(request: MemberRequest, row: Prompt, entered: dict[str, Any], refused: Refused | None = None) -> HttpResponse:
    project, is_withheld = row.project, _is_withheld(request, row)
    answers = row.completions.select_related("model").order_by("id")
    context = {
        "project": project,
        "prompt": row,
        "entered": entered,
        "errors": refused.errors if refused else {},
        "withheld": is_withheld,
        "answers": [] if is_withheld else answers[:_ANSWERS_SHOWN],
        "answer_count": answers.count(),
        "older": row.replaces.order_by("-id").first(),
        "is_used": any(editing.depends_on(row)),
        "researches": can(request.user, "research", project),
        "longest_category": editing.LONGEST_CATEGORY,
        "longest_language": language_tags.LONGEST,
        "categories": listing.categories(project),
        "languages": listing.languages(project),
    }
    return render(request, "annotate/data/prompt.html", context, status=refused.status if refused else 200)


def _is_withheld(request: MemberRequest, row: Prompt) -> bool:
    return bool(row.harm) and not set(row.harm.split()) <= set(harm_budget.readable(request.user))


def _entered(row: Prompt, query: QueryDict | None) -> dict[str, Any]:
    """Return the form's values: (field's name, role, text) of each turn, category, language and right answer."""
    turns = []
    for number, turn in enumerate(row.messages):
        name = f"turn-{number}"
        turns.append((name, turn["role"], _typed(query, name, turn["content"])))
    labels = {"category": row.category, "language": row.language, "answer": row.answer}
    return {"turns": turns} | {name: _typed(query, name, label) for name, label in labels.items()}


def _typed(query: QueryDict | None, name: str, standing: str) -> str:
    """Return a field's text with line feeds; what stands where nothing else differs, as a form sends other line ends
    than it was given, and where no form was sent."""
    if query is None:
        return standing
    text = with_line_feeds(query.get(name, standing))
    return standing if text == with_line_feeds(standing) else text


def _edit_message(before: Prompt, edited: editing.Edited) -> str:
    now = edited.prompt
    if edited.replaced is None:
        moved = "" if now.side == before.side else f" It is now in the {now.side} split."
        return f"Prompt {now.pk} is saved.{moved}"
    return f"This is prompt {now.pk}, in the {now.side} split. It replaces prompt {before.pk}, which is retired."


def _filters(query: QueryDict) -> Filters:
    side, state = query.get("side", ""), query.get("state", "")
    return Filters(
        search=query.get("search", "").replace("\x00", "").strip()[:_LONGEST_SEARCH],
        category=query.get("category", "").replace("\x00", ""),
        language=query.get("language", "").replace("\x00", ""),
        side=side if side in Split.values else "",
        state=state if state in listing.STATES else listing.ACTIVE,
    )


def _query(filters: Filters) -> str:
    """Return the query of the filters, for the link to the next page."""
    query = QueryDict(mutable=True)
    for name in ("search", "category", "language", "side"):
        if value := getattr(filters, name):
            query[name] = value
    if filters.state != listing.ACTIVE:
        query["state"] = filters.state
    return query.urlencode()
