"""Answer while figures are being computed: a page that moves, a file or an answer of the API that says to come back."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.dateparse import parse_datetime
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from evaluation.core.kept_figures import BeingComputed
from evaluation.models import KeptFigures

AGAIN = 5  # seconds


class BeingComputedOut(serializers.Serializer):
    id = serializers.IntegerField(help_text="Of these figures: projects/{slug}/figures/{id}/cancel/ stops the work.")
    detail = serializers.CharField()
    stage = serializers.CharField(help_text="What is being done; empty until the background worker begins.")
    percent = serializers.IntegerField()


def page_waits(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """Show how far the figures of a project's page are, with status 202, until they are there."""

    @wraps(view)
    def page(request: HttpRequest, **kwargs: Any) -> HttpResponse:
        try:
            return view(request, **kwargs)
        except BeingComputed as waiting:
            context = {"project": kwargs["project"], "kept": waiting.row, "again": AGAIN}
            answer = render(request, "evaluation/core/being_computed.html", context, status=202)
            answer["Retry-After"] = str(AGAIN)
            return answer

    return page


def kept_age(request: HttpRequest, row: KeptFigures | None) -> HttpResponse:
    """Show how old the figures of an open page are (`?shown=`), and how far newer ones."""
    try:
        shown_at = parse_datetime(request.GET["shown"].replace(" ", "+"))
    except ValueError:  # no such day
        shown_at = None
    if row is None or shown_at is None:
        raise Http404("No such figures are kept.")
    return render(request, "evaluation/core/kept_note.html", {"kept": row, "shown_at": shown_at})


def file_waits(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    @wraps(view)
    def file(request: HttpRequest, **kwargs: Any) -> HttpResponse:
        try:
            return view(request, **kwargs)
        except BeingComputed as waiting:
            answer = HttpResponse(f"{_detail(waiting.row)}\n", "text/plain", status=202)
            answer["Retry-After"] = str(AGAIN)
            return answer

    return file


def api_waits(view: Callable[..., Response]) -> Callable[..., Response]:
    @wraps(view)
    def api(request: Request, *args: Any, **kwargs: Any) -> Response:
        try:
            return view(request, *args, **kwargs)
        except BeingComputed as waiting:
            return Response(being_computed(waiting.row), status=202, headers={"Retry-After": str(AGAIN)})

    return api


def being_computed(row: KeptFigures) -> dict[str, Any]:
    """Return how far figures are, for programs."""
    body = {"id": row.pk, "detail": _detail(row), "stage": row.stage, "percent": row.percent}
    return BeingComputedOut(body).data


def _detail(row: KeptFigures) -> str:
    return row.problem or "The background worker computes these figures; ask again in some seconds."
