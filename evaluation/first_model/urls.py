"""Addresses of the way from a model to its first trained child: pages, and below /api/v1/ their twins for programs."""

from django.urls import path

from evaluation.first_model import api, pages

urlpatterns = [
    path("first-model/", pages.start, name="first-model-start"),
    path("p/<slug:slug>/first-model/", pages.current, name="first-model"),
    path("p/<slug:slug>/first-model/<str:step>/", pages.step, name="first-model-step"),
]

api_urlpatterns = [
    path("projects/<slug:slug>/first-model/", api.first_model),
    path("projects/<slug:slug>/first-model/model/", api.model),
    path("projects/<slug:slug>/first-model/answers/", api.answers),
    path("projects/<slug:slug>/first-model/training/", api.training),
]
