"""Addresses of experiments: pages, and below /api/v1/ their twins for programs."""

from django.urls import path

from evaluation.experiments import api, pages

_PAGES, _API = "p/<slug:slug>/experiments/", "projects/<slug:slug>/experiments/"

urlpatterns = [
    path(_PAGES, pages.experiments, name="experiments"),
    path(_PAGES + "new/", pages.new, name="new-experiment"),
    path(_PAGES + "<int:pk>/", pages.experiment, name="experiment"),
    path(_PAGES + "<int:pk>/arms/", pages.add_arm, name="experiment-arm"),
    path(_PAGES + "<int:pk>/retry/", pages.retry, name="experiment-retry"),
    path(_PAGES + "<int:pk>/cancel/", pages.cancel, name="experiment-cancel"),
]

api_urlpatterns = [
    path(_API, api.experiments),
    path(_API + "<str:pk>/", api.experiment),
    path(_API + "<str:pk>/arms/", api.arms),
    path(_API + "<str:pk>/retry/", api.retry),
    path(_API + "<str:pk>/cancel/", api.cancel),
]
