"""Addresses of instructions made by templates: pages, and below /api/v1/ their twins for programs."""

from django.urls import path

from training.instructions import api, pages

urlpatterns = [
    path("p/<slug:slug>/data/instruct/", pages.instructions, name="instruct"),
]

api_urlpatterns = [
    path("instructions/", api.create),
    path("instructions/preview/", api.look),
    path("instructions/templates/", api.templates),
]
