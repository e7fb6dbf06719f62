"""Addresses of rounds: pages, and below /api/v1/ their twins for programs."""

from django.urls import path

from evaluation.rounds import api, pages

_PAGES, _API = "p/<slug:slug>/rounds/", "projects/<slug:slug>/rounds/"

urlpatterns = [
    path(_PAGES, pages.all_rounds, name="rounds"),
    path(_PAGES + "new/", pages.new, name="new-rounds"),
    path(_PAGES + "<int:pk>/", pages.rounds, name="round-series"),
    path(_PAGES + "<int:pk>/pause/", pages.pause, name="rounds-pause"),
    path(_PAGES + "<int:pk>/go-on/", pages.go_on, name="rounds-go-on"),
    path(_PAGES + "<int:pk>/review/", pages.review, name="rounds-review"),
    path(_PAGES + "<int:pk>/retry/", pages.retry, name="rounds-retry"),
    path(_PAGES + "<int:pk>/cancel/", pages.cancel, name="rounds-cancel"),
]

api_urlpatterns = [
    path(_API, api.all_rounds),
    path(_API + "<str:pk>/", api.rounds),
    path(_API + "<str:pk>/pause/", api.pause),
    path(_API + "<str:pk>/go-on/", api.go_on),
    path(_API + "<str:pk>/review/", api.review),
    path(_API + "<str:pk>/retry/", api.retry),
    path(_API + "<str:pk>/cancel/", api.cancel),
]
