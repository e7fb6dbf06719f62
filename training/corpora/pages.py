"""Show where texts for a corpus come from: the project's files, what every installation has, and corpora of the Hub."""

from __future__ import annotations

from typing import Any, cast
from urllib.parse import urlencode

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render

from annotate.core.errors import Refused
from annotate.core.large_uploads import takes_files
from annotate.core.page_access import in_project
from annotate.core.permissions import can
from annotate.models import Completion, Demonstration, Project, Split, User
from training.corpora import actions as corpora
from training.corpora.catalogue import by_group

AT_HAND = (
    ("python:topics", "Python's help() texts about the language: about eighty texts, half a megabyte"),
    ("python:docstrings", "the docstrings of Python's standard library, one text for each module, 1.6 MB"),
)


@in_project(get="read")
def catalogue(request: HttpRequest, project: Project) -> HttpResponse:
    return _page(request, project)


@takes_files
@in_project(post="research")
def upload(request: HttpRequest, project: Project) -> HttpResponse:
    file = request.FILES.get("file")
    try:
        if file is None:
            raise Refused(400, file="Choose a file.")
        corpus_file = corpora.upload(project=project, file=cast(Any, file), by=cast(User, request.user))
    except Refused as refused:
        return _page(request, project, refused.errors, refused.status)
    messages.success(request, f"{corpus_file.name} is uploaded. Corpus runs of this project can read it.")
    return redirect("catalogue", project.slug)


def _page(
    request: HttpRequest, project: Project, errors: dict[str, str] | None = None, status: int = 200
) -> HttpResponse:
    may_start = can(request.user, "research", project)
    context = {
        "project": project,
        "groups": by_group(),
        "at_hand": [(line, description, _query(line)) for line, description in (*AT_HAND, *_own_texts(project))],
        "files": [(file, _query(file.name)) for file in corpora.files(project)] if may_start else [],
        "may_start": may_start,
        "errors": errors or {},
        "largest": corpora.LARGEST_UPLOAD,
    }
    return render(request, "training/corpora/catalogue.html", context, status=status)


def _query(line: str) -> str:
    return urlencode({"config.sources": line})


def _own_texts(project: Project) -> list[tuple[str, str]]:
    of_train = {"prompt__project": project, "prompt__side": Split.TRAIN}
    answers = Completion.objects.filter(**of_train).count()
    n_demonstrations = Demonstration.objects.counted().filter(**of_train).count()
    return [
        ("app:answers", f"answers of models to prompts of the train split: {answers:,}"),
        ("app:demonstrations", f"answers that people wrote to prompts of the train split: {n_demonstrations:,}"),
    ]
