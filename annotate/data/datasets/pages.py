"""Show a project's data: what people have annotated, and the datasets frozen from it."""

from __future__ import annotations

from itertools import islice
from typing import Any, cast
from urllib.parse import urlencode

from django.contrib import messages
from django.contrib.auth.views import redirect_to_login
from django.db.models import Count
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, QueryDict
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse

from annotate.core.artefacts import local_copies
from annotate.core.asgi.downloads import download as to_disk
from annotate.core.db.kept_totals import is_large
from annotate.core.errors import Refused
from annotate.core.page_access import allows, in_project, refused_page
from annotate.core.permissions import can
from annotate.data import feedback_lineage, frozen_rows
from annotate.data.datasets.begun_forms import form_with
from annotate.data.datasets.count_names import count_words
from annotate.data.datasets.freezing import order_freeze
from annotate.data.datasets.frozen_exports import export_file, formats_of
from annotate.data.datasets.selected_rows import Selection
from annotate.data.datasets.selections import select
from annotate.data.prompts.listing import categories
from annotate.models import AnnotatorKind, Dataset, DatasetFreeze, Project, Split, Status, User
from common.artefacts.storage_problems import StorageProblem
from common.texts import is_storable
from common.whole_numbers import number_or_text

MAKES = {
    "preferences": ("Preferences", "Comparisons and ratings, to train a reward model."),
    "sft": ("Examples", "Demonstrations and the best-rated answers, for supervised finetuning."),
    "prompts": ("Prompts", "Only prompts: to sample answers from a model, or for PPO."),
}
# What is not frozen from feedback, but made by a run or uploaded.
OTHERS = {
    "corpus": ("Raw texts", "Documents, some held out, for pretraining and domain adaptation."),
    "labelled": ("Labelled texts", "Texts with labels or answers, for classifiers and instructions."),
    "task": ("Task", "Items with their right answers, to evaluate models. They train no model."),
}
FILES = ("comparisons", "ratings", "examples", "prompts")


@in_project(get="read", post="research")
def datasets(request: HttpRequest, project: Project) -> HttpResponse:
    """List datasets, with the form that freezes one. GET with a half-filled form counts what would go in; POST freezes
    it."""
    if request.method == "POST":
        return _freeze(request, project, cast(User, request.user))  # in_project lets nobody else through
    may_freeze = can(request.user, "research", project)
    form = _form(request.GET, project)
    if request.htmx.target == "counts" and may_freeze:  # type: ignore[attr-defined]
        return render(request, "annotate/data/datasets.html#counts", _preview(form, project, "count" in request.GET))
    context = _page(project, form, may_freeze, is_asked="count" in request.GET)
    return render(request, "annotate/data/datasets.html", context)


def _freeze(request: HttpRequest, project: Project, by: User) -> HttpResponse:
    form = _form(request.POST, project)
    try:
        made = order_freeze(project=project, by=by, name=form["name"], **_arguments(form))
    except Refused as refused:
        context = _page(project, form, True) | {"errors": refused.errors}
        return render(request, "annotate/data/datasets.html", context, status=refused.status)
    begun = request.POST.get("next", "")  # the form of a run, which lacked this dataset
    if isinstance(made, DatasetFreeze):
        query = f"?{urlencode({'next': begun})}" if begun else ""
        return redirect(reverse("dataset-freeze", args=[project.slug, made.pk]) + query)
    messages.success(request, f"{made.name} is frozen. It cannot change any more.")
    return redirect(form_with(made, begun) or reverse("dataset", args=[made.pk]))


def _page(project: Project, form: dict[str, Any], may_freeze: bool, *, is_asked: bool = False) -> dict[str, Any]:
    return {
        "project": project,
        "datasets": project.datasets.prefetch_related("runs", "other_runs"),
        "freezes": project.dataset_freezes.filter(state__in=("queued", "running")) if may_freeze else [],
        "may_freeze": may_freeze,
        "makes": MAKES,
        "categories": categories(project),
        "errors": {},
        **(_preview(form, project, is_asked) if may_freeze else {"form": form}),
    }


def _form(query: QueryDict, project: Project) -> dict[str, Any]:
    """Return what was typed so far, with defaults for the rest."""
    kind = query.get("kind", "preferences")
    return {
        "kind": kind if kind in MAKES else "preferences",
        "name": query.get("name", "").strip(),
        "judge": query.get("judge") or _annotator_kind(project),
        "side": query.get("side") or Split.TRAIN,
        "categories": [category for category in query.getlist("categories") if is_storable(category)],
        "per_prompt": query.get("per_prompt", "1"),
        "minimum": query.get("minimum", "0.6"),
        "cut_off": "cut_off" in query,
        "limit": query.get("limit", ""),
    }


def _annotator_kind(project: Project) -> str:
    """Return whose feedback is frozen unless somebody says otherwise: people's, but where simulations alone have
    annotated."""
    rows = [table.objects.filter(project=project) for table in feedback_lineage.KINDS.values()]
    has_people = any(each.by("person").exists() for each in rows)  # simulations are looked for where there are none
    has_only_simulations = not has_people and any(each.by("simulation").exists() for each in rows)
    return AnnotatorKind.SIMULATION if has_only_simulations else AnnotatorKind.PERSON


def _arguments(form: dict[str, Any]) -> dict[str, Any]:
    """Return arguments for `select` and `freeze`; what is no number is passed on, and refused there by name."""
    fields: dict[str, Any] = {"kind": form["kind"], "judge": form["judge"]}
    if form["categories"]:
        fields["categories"] = form["categories"]
    if form["kind"] == "prompts":
        fields |= {"side": form["side"]} | ({"limit": number_or_text(form["limit"], int)} if form["limit"] else {})
    if form["kind"] == "sft":
        fields["per_prompt"] = number_or_text(form["per_prompt"], int)
        fields["minimum"] = number_or_text(form["minimum"], float)
        fields["whole_answers"] = not form["cut_off"]
    return fields


def _preview(form: dict[str, Any], project: Project, is_asked: bool) -> dict[str, Any]:
    """Count what would go in. It reads every annotation, so that of many it is counted only where somebody asks."""
    tables = [feedback_lineage.KINDS[kind].objects.filter(project=project) for kind in feedback_lineage.TEACHING]
    if form["kind"] != "prompts" and not is_asked and any(map(is_large, tables)):
        return {"form": form, "project": project, "is_uncounted": True}
    try:
        selection = select(project=project, **_arguments(form))
    except Refused as refused:
        return {"form": form, "project": project, "refusal": refused.errors}
    return {"form": form, "project": project, "preview": _selection_fields(selection)}


def _selection_fields(selection: Selection) -> dict[str, Any]:
    counts = selection.counts
    return {
        **counts,
        "best": counts.get("best-rated answers"),
        "is_empty": not any(selection.sources.values()),
        "left_out": _left_out(counts),
    }


def _left_out(counts: dict[str, Any]) -> list[tuple[str, int]]:
    return [(reason, n) for reason, n in counts.get("left_out", {}).items() if n]


@allows(get="read")
def dataset(request: HttpRequest, pk: int) -> HttpResponse:
    """Show one dataset: what is in it, whose feedback, which runs used it, and a look at its rows."""
    dataset, refusal = _dataset(request, pk)
    if refusal:
        return refusal
    feedback = {
        kind: feedback_lineage.one_per_item(kind, getattr(dataset, f"{kind}s"))
        .order_by()
        .values_list("status")
        .annotate(n=Count("id"))
        for kind in feedback_lineage.TEACHING
    }
    statuses = {kind: dict(rows) for kind, rows in feedback.items()}
    reviews = can(request.user, "review", dataset.project)
    if reviews:  # who sees no rows makes the site fetch none
        local_copies.bring(dataset.path)
    context = {
        "project": dataset.project,
        "dataset": dataset,
        "kind": (MAKES | OTHERS)[dataset.kind],
        "labels": _table(dataset, "labels"),
        "groups": _table(dataset, "groups"),
        "templates": _table(dataset, "templates"),
        "votes": [(kind, feedback_lineage.TITLES[kind], sum(n.values())) for kind, n in statuses.items() if n],
        "changed": _changed(statuses),
        "left_out": _left_out(dataset.counts),
        "counted": _counted(dataset.counts),
        "runs": _runs(dataset),
        "formats": list(formats_of(dataset)) if reviews else [],
        "is_missing": not (dataset.path.is_dir() if reviews else _is_kept(dataset)),
        **(_samples(dataset) if reviews and dataset.path.is_dir() else {}),
    }
    return render(request, "annotate/data/dataset.html", context)


def _is_kept(dataset: Dataset) -> bool:
    """Return whether its rows are here or in the storage; one that does not answer has lost nothing."""
    try:
        return local_copies.is_available(dataset.path)
    except StorageProblem:
        return True


def _counted(counts: dict[str, Any]) -> list[tuple[str, int]]:
    return [(count_words(name), n) for name, n in counts.items() if type(n) is int and name != "telling"]


def _runs(dataset: Dataset) -> Any:
    """Return those that it was the dataset of, and those that took it beside theirs."""
    used: Any = dataset.runs.all() | dataset.other_runs.all()  # type: ignore[attr-defined]
    return used.select_related("output_model", "output_dataset").order_by("id")


@allows(get="review")
def download(request: HttpRequest, pk: int, format: str) -> HttpResponseBase:
    dataset, refusal = _dataset(request, pk, "review")
    if refusal:
        return refusal
    try:
        export = export_file(dataset, format, request.GET.get("file", "jsonl"), by=cast(User, request.user))
    except Refused as refused:
        return refused_page(request, refused, project=dataset.project)
    return to_disk(request, export.parts, name=export.name, content_type=export.content_type)


def _dataset(request: HttpRequest, pk: int, action: str = "read") -> tuple[Dataset, HttpResponse | None]:
    dataset = get_object_or_404(Dataset.objects.select_related("project", "created_by"), pk=pk)
    if can(request.user, action, dataset.project):
        return dataset, None
    if not request.user.is_authenticated:
        return dataset, redirect_to_login(request.get_full_path())
    if not can(request.user, "read", dataset.project):
        raise Http404("No such dataset.")
    return dataset, refused_page(
        request,
        Refused(403, project="Only reviewers see the rows; ask a manager for that role."),
        project=dataset.project,
    )


def _changed(statuses: dict[str, dict[str, int]]) -> int:
    """Return the votes that have been excluded since: the dataset keeps them, and whoever trains on it should know."""
    return sum(n for rows in statuses.values() for status, n in rows.items() if status != Status.COUNTED)


def _table(dataset: Dataset, name: str) -> list[tuple[str, int]]:
    counts = dataset.counts.get(name)
    return sorted(counts.items(), key=lambda row: -row[1]) if isinstance(counts, dict) else []


def _samples(dataset: Dataset, n: int = 5) -> dict[str, Any]:
    """Return the first rows, with their texts."""
    first = {
        name: [row for row, _ in zip(frozen_rows.read(dataset.path, name), range(n), strict=False)] for name in FILES
    }
    completion_ids = {row[end] for row in first["comparisons"] for end in ("completion_a", "completion_b")}
    completion_ids |= {row["completion"] for row in first["ratings"]}
    with_id = (row for row in frozen_rows.read(dataset.path, "completions") if row["id"] in completion_ids)
    texts = {row["id"]: row for row in islice(with_id, len(completion_ids))}
    pairs = [(row, texts[row["completion_a"]], texts[row["completion_b"]]) for row in first["comparisons"]]
    rated_answers = [(row, texts[row["completion"]]) for row in first["ratings"]]
    return {"pairs": pairs, "rated": rated_answers, "examples": first["examples"], "asked": first["prompts"]} | _texts(
        dataset, n
    )


def _texts(dataset: Dataset, n: int) -> dict[str, Any]:
    """Return the first rows of what bears no feedback: labelled rows as (field, value), documents by their
    beginning."""
    fielded = "items" if dataset.kind == Dataset.Kind.TASK else "rows"
    labelled = [row for row, _ in zip(frozen_rows.read(dataset.path, fielded), range(n), strict=False)]
    documents = next((p for p in sorted(dataset.path.glob("*.jsonl")) if dataset.kind == Dataset.Kind.CORPUS), None)
    texts = zip(frozen_rows.read(dataset.path, documents.stem), range(n), strict=False) if documents else ()
    return {"labelled": [_fields(row) for row in labelled], "documents": [row for row, _ in texts]}


def _fields(row: dict[str, Any]) -> list[tuple[str, Any]]:
    """Return the fields as a reader wants them: a conversation as its turns, a list as its lines."""
    return [(name, _choices(value) if name == "choices" else _lines(value)) for name, value in row.items()]


def _choices(value: Any) -> list[Any]:
    """Return a list of texts, however the file wrote it; ARC's are beside their labels."""
    if isinstance(value, dict):
        value = value.get("text") or []
    return value if isinstance(value, list) else [value]


def _lines(value: Any) -> Any:
    if not isinstance(value, list):
        return value
    turns = [f"{v['role']}: {v['content']}" if isinstance(v, dict) and "role" in v else str(v) for v in value]
    return "\n".join(turns)
