"""Addresses of held votes: pages, and below /api/v1/ their twins for programs."""

from django.urls import path

from evaluation.vote_integrity import api, pages

urlpatterns = [
    path("p/<slug:slug>/held/", pages.held_votes, name="held-votes"),
    path("p/<slug:slug>/held/decide/", pages.decide, name="decide-held-votes"),
]

api_urlpatterns = [
    path("projects/<slug:slug>/held-rate/", api.held_rate),
    path("projects/<slug:slug>/held-votes/", api.held_votes),
]
