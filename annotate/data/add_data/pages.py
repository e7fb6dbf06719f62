"""Add data of every shape from one page: choose a file, look at what it becomes, correct it, and add it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

from django.contrib import messages
from django.http import HttpResponse, QueryDict
from django.shortcuts import redirect, render
from django.urls import reverse
from django_htmx.http import HttpResponseClientRedirect

from annotate.core.asgi import waiting
from annotate.core.errors import Refused
from annotate.core.large_uploads import takes_files
from annotate.core.page_access import MemberRequest, in_project
from annotate.core.permissions import can
from annotate.core.typed_texts import named_values
from annotate.data import formats
from annotate.data.add_data import column_targets, drafts, hub_files
from annotate.data.add_data.actions import Wish, add
from annotate.data.add_data.column_targets import ROWS
from annotate.data.add_data.previews import Plan, Preview, preview
from annotate.data.imports.present import shown
from annotate.data.rows import row_files
from annotate.data.rows.task_families import TASKS
from annotate.data.rows.task_items import FORMS
from annotate.data.uploads.present import KIND_WORDS, upload_message
from annotate.models import AnnotatorKind, Import, Project

SHAPES = {
    ROWS: (
        "Prompts, answers, annotations",
        "Rows of this project: prompts, answers to annotate, or annotations from another tool.",
    ),
    **{kind: (f"A dataset: {title.lower()}", words) for kind, (title, words) in KIND_WORDS.items()},
}
_COLUMN = "column"  # the fields column:SHAPE:NAME of the form


@takes_files
@in_project(get="research", post="research")
def add_data(request: MemberRequest, project: Project) -> HttpResponse:
    """Offer to choose a file; with a draft, show what it would become. POST keeps a file, or adds what is shown."""
    token = request.POST.get("draft", "") or request.GET.get("draft", "")
    if request.method == "POST" and not token:
        return _keep(request, project)
    if not token:
        return _choose(request, project)
    try:
        draft = drafts.draft_of(token, project=project, by=request.user)
    except Refused as refused:
        return _choose(request, project, refused)
    if request.method == "POST":
        return _add(request, project, draft)
    return _look(request, project, draft, request.GET)


@in_project(get="research")
def old_upload(request: MemberRequest, project: Project) -> HttpResponse:
    """Lead from the address of the older form to this page."""
    shape = request.GET.get("kind", "labelled")
    query = f"?as={shape}" if shape in SHAPES else ""
    return redirect(f"{reverse('add-data', args=[project.slug])}{query}")


def _keep(request: MemberRequest, project: Project) -> HttpResponse:
    """Keep what was sent, and lead to the look at it."""
    plan = {"as": _shape(request.POST)}
    try:
        if "hub" in request.POST:
            draft = _fetch(request, project)
            plan |= hub_files.known_plan(request.POST["hub"])
        else:
            draft = _draft_of_sent(request, project)
    except Refused as refused:
        return _choose(request, project, refused)
    query = QueryDict(mutable=True)
    query.update({"draft": draft.token, **plan})
    address = f"{reverse('add-data', args=[project.slug])}?{query.urlencode()}"
    return HttpResponseClientRedirect(address) if request.htmx else redirect(address)


def _draft_of_sent(request: MemberRequest, project: Project) -> drafts.Draft:
    file = request.FILES.get("file")
    if file is not None:
        return drafts.keep_file(cast(Any, file), file.name or "upload", project=project, by=request.user)
    return drafts.keep_text(request.POST.get("text", ""), project=project, by=request.user)


def _fetch(request: MemberRequest, project: Project) -> drafts.Draft:
    sent = request.POST
    with waiting.aside_in_thread(f"user:{request.user.pk}"):
        return hub_files.fetch(
            sent["hub"], split=sent.get("split", ""), rows=sent.get("rows", ""), project=project, by=request.user
        )


def _choose(request: MemberRequest, project: Project, refused: Refused | None = None) -> HttpResponse:
    context = {
        "project": project,
        "shape": _shape(request.POST if request.method == "POST" else request.GET),
        "text": request.POST.get("text", ""),
        "hub": {name: request.POST.get(name, "") for name in ("hub", "split", "rows")},
        "hub_rows": hub_files.ROWS,
        "most_hub_rows": hub_files.MOST_ROWS,
        "errors": refused.errors if refused else {},
        "recent": project.imports.all()[:5],
        "longest_text": drafts.LONGEST_TEXT,
        "tasks": TASKS.values(),
        "forms": FORMS.values(),
    }
    status = refused.status if refused else 200
    if refused and request.htmx:  # htmx shows no answer that is refused
        answer = render(request, "annotate/data/add.html", context)
        answer["HX-Retarget"] = answer["HX-Reselect"] = "#main"
        answer["HX-Reswap"] = "outerHTML"
        return answer
    return render(request, "annotate/data/add.html", context, status=status)


def _look(
    request: MemberRequest, project: Project, draft: drafts.Draft, query: QueryDict, refused: Refused | None = None
) -> HttpResponse:
    plan, errors = _plan(query)
    errors |= refused.errors if refused else {}
    seen = preview(draft, plan, project)
    first = [(each, shown(each.item)) for each in seen.file.first]
    known = formats.FORMATS | formats.INCOMING
    format_ = known.get(seen.how.format)
    context = {
        "project": project,
        "draft": draft,
        "plan": plan,
        "shapes": SHAPES,
        "seen": seen,
        "format_title": format_.title if format_ else "",
        "targets": column_targets.targets(plan.shape),
        "first": first,
        "kinds": _kinds(seen),
        "errors": {name: text for name, text in errors.items() if not name.startswith("line ")},
        "bad": [(name[5:], text) for name, text in errors.items() if name.startswith("line ")] or seen.bad,
        "wish": _wish(query, draft),
        "labels": query.get("labels", ""),
        "formats": known.values(),
        "containers": row_files.FORMATS,
        "judges": AnnotatorKind.choices,
        "tasks": TASKS.values(),
        "may_link": can(request.user, "manage", project),
    }
    return render(request, "annotate/data/add_preview.html", context, status=refused.status if refused else 200)


def _add(request: MemberRequest, project: Project, draft: drafts.Draft) -> HttpResponse:
    plan, errors = _plan(request.POST)
    try:
        if errors:
            raise Refused(400, **errors)
        wish = replace(_wish(request.POST, draft), dry_run=request.GET.get("do") == "check")
        added = add(draft, plan, wish, project=project, by=request.user)
    except Refused as refused:
        return _look(request, project, draft, request.POST, refused)
    if isinstance(added, Import):
        return redirect("import", project.slug, added.pk)
    messages.success(request, upload_message(added))
    return redirect("dataset", cast(Any, added.dataset).pk)


def _shape(query: QueryDict) -> str:
    shape = query.get("as", ROWS)
    return shape if shape in SHAPES else ROWS


def _plan(query: QueryDict) -> tuple[Plan, dict[str, str]]:
    """Return the plan that a form says, and what is wrong in it, by field."""
    shape, errors, labels = _shape(query), {}, {}
    start = f"{_COLUMN}:{shape}:"
    try:
        labels = named_values(query.get("labels", ""), "labels")
    except Refused as refused:
        errors = refused.errors
    format_, container = query.get("format", "auto"), query.get("container", "auto")
    return Plan(
        shape=shape,
        format=format_ if format_ in formats.READERS else "auto",
        container=container if container in row_files.FORMATS else "auto",
        columns={name.removeprefix(start): str(value) for name, value in query.items() if name.startswith(start)},
        task=query.get("task", "") if query.get("task") in TASKS else "",
        labels=labels,
    ), errors


def _wish(query: QueryDict, draft: drafts.Draft) -> Wish:
    return Wish(
        source=query.get("source", "").strip(),
        judge=query.get("judge", ""),
        link=bool(query.get("link")),
        name=query.get("name", draft.file.name.partition(".")[0])[:120],
        skip_bad=bool(query.get("skip_bad")),
    )


def _kinds(seen: Preview) -> list[tuple[str, int]]:
    """Return (kind in words, how many) of what the first rows become. A row of answers is one prompt with two or more
    of them."""
    return [(_kind_words(kind, n), n) for kind, n in seen.file.kinds.most_common()]


def _kind_words(kind: str, n: int) -> str:
    if kind == "answers":
        return "prompt with answers" if n == 1 else "prompts with answers"
    return kind if n == 1 or kind.endswith("s") else f"{kind}s"
