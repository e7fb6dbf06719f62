"""Show the tutorial: the annotator's own form, and after each item what was right and why."""

from __future__ import annotations

from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django_htmx.http import HttpResponseClientRedirect

from annotate.core.errors import Refused
from annotate.core.page_access import MemberRequest, in_project, refused_page
from annotate.labelling import form_input
from annotate.labelling.adjudication.disagreements import words_of
from annotate.labelling.forms.storage import standing_rows
from annotate.labelling.gold.present import in_words
from annotate.labelling.pages import item_page
from annotate.labelling.prerequisites.pages import redirects_to_prerequisite
from annotate.labelling.tutorial import actions
from annotate.models import Assignment, Project
from common.whole_numbers import row_id


@never_cache
@in_project(get="judge", post="judge")
@redirects_to_prerequisite
def tutorial(request: MemberRequest, project: Project) -> HttpResponse:
    """Show the next item of the tutorial in the form that real ones have; a summary when all are answered."""
    if request.method == "POST":
        return _answer(request, project)
    assignment = actions.next_lesson(project=project, user=request.user)
    if assignment is None:
        _, total = actions.progress(project, request.user)
        context = {
            "project": project,
            "total": total,
            "answered": actions.answered(project, request.user),
            "score": actions.score(project, request.user),
        }
        return render(request, "annotate/labelling/tutorial.html", context)
    return item_page.show(request, project, assignment, send_to=reverse("tutorial", args=[project.slug]))


@never_cache
@in_project(get="judge, mine")
def lesson(request: MemberRequest, project: Project, pk: int) -> HttpResponse:
    """Show what was right, beside what was answered."""
    own_lessons = project.assignments.select_related("project", "gold", "prompt", "completion_a", "completion_b")
    assignment = get_object_or_404(own_lessons, pk=pk, user=request.user)
    try:
        lesson = actions.lesson_of(assignment, request.user)
    except Refused as refused:
        return refused_page(request, refused, project=project)
    answers = list(zip("AB", assignment.completions, strict=False))
    letters = {completion.pk: letter for letter, completion in answers}
    context = {
        "project": project,
        "lesson": lesson,
        "answers": answers,
        "said": "; ".join(filter(None, (words_of(row, letters) for row in standing_rows(assignment)))),
        "expected": in_words(lesson.expected),
    }
    return render(request, "annotate/labelling/tutorial.html", context)


def _answer(request: MemberRequest, project: Project) -> HttpResponse:
    pk = request.POST.get("assignment", "")
    rows = project.assignments.select_related("project", "user", "prompt", "completion_a", "completion_b", "gold")
    assignment = get_object_or_404(rows, pk=row_id(pk), user=request.user, purpose=Assignment.Purpose.TUTORIAL)
    try:
        item_page.submit(request, assignment)
    except Refused as refused:
        send_to = reverse("tutorial", args=[project.slug])
        return item_page.show(request, project, assignment, form_input.entered(request, refused), send_to=send_to)
    address = reverse("tutorial-lesson", args=[project.slug, assignment.pk])
    return HttpResponseClientRedirect(address) if request.htmx else redirect(address)
