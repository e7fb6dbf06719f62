"""Show reviewers how much of the drawn share is looked at, and one item after another in the annotators' own form."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django_htmx.http import HttpResponseClientRedirect

from annotate.core.errors import Refused
from annotate.core.page_access import MemberRequest, in_project, refused_page
from annotate.labelling import form_input
from annotate.labelling.pages import item_page
from annotate.labelling.prerequisites.actions import NotYet
from annotate.labelling.prerequisites.pages import redirects_to_prerequisite
from annotate.labelling.reviews import actions, present
from annotate.models import Project


@never_cache
@in_project(get="review", post="review")
@redirects_to_prerequisite
def reviews(request: MemberRequest, project: Project) -> HttpResponse:
    """Show the figures; by POST, go to the next item that is due."""
    if request.method == "POST":
        try:
            assignment = actions.take_next(project=project, by=request.user)
        except NotYet:
            raise  # `redirects_to_prerequisite` knows the way
        except Refused as refused:
            return refused_page(request, refused, project=project)
        if assignment is not None:
            return redirect("review", project.slug, assignment.pk)
        messages.info(
            request, "There is nothing for you to review: the items left are your own or with other reviewers."
        )
    context = {"project": project, "figures": present.figures_of(project)}
    return render(request, "annotate/labelling/reviews.html", context)


@never_cache
@in_project(get="review, mine", post="review, mine")
@redirects_to_prerequisite
def review(request: MemberRequest, project: Project, pk: int) -> HttpResponse:
    """Show an item without what was said of it; once it is annotated, both annotations side by side."""
    rows = project.assignments.select_related("project", "user", "prompt", "completion_a", "completion_b")
    assignment = get_object_or_404(rows, pk=pk, user=request.user, is_review=True)
    if request.method != "POST":
        if assignment.state == "submitted":
            return redirect("adjudicate-item", project.slug, assignment.item)
        return item_page.show(request, project, assignment, send_to=request.path)
    try:
        item_page.submit(request, assignment)
    except Refused as refused:
        entered = form_input.entered(request, refused)
        return item_page.show(request, project, assignment, entered, send_to=request.path)
    if present.do_agree(project, assignment.item):
        messages.success(request, "You agree with the first annotation. Both are shown below.")
    else:
        messages.warning(request, "You disagree: send the first annotation back, or let another reviewer decide.")
    address = reverse("adjudicate-item", args=[project.slug, assignment.item])
    return HttpResponseClientRedirect(address) if request.htmx else redirect(address)
