"""Addresses of judge models: pages, and below /api/v1/ their twins for programs."""

from django.urls import path

from evaluation.judge_models import api, pages

_JUDGES = "p/<slug:slug>/judge-models/"

urlpatterns = [
    path(_JUDGES, pages.judges, name="judge-models"),
    path(_JUDGES + "<int:pk>/", pages.judge, name="judge-model"),
    path(_JUDGES + "<int:pk>/verdicts/", pages.verdicts, name="judge-verdicts"),
    path("p/<slug:slug>/leaderboard/with-judge/", pages.with_judge, name="leaderboard-with-judge"),
]

_API = "projects/<slug:slug>/judge-models/"

api_urlpatterns = [
    path(_API, api.judges),
    path(_API + "<str:pk>/", api.judge),
    path(_API + "<str:pk>/rubrics/", api.rubrics),
    path(_API + "<str:pk>/verdicts/", api.verdicts),
    path(_API + "<str:pk>/datasets/", api.datasets),
    path("leaderboard/with-judge/", api.with_judge),
]
