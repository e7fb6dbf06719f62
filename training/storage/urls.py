"""Addresses of the disk: pages, and below /api/v1/ their twins for programs."""

from django.urls import path

from training.storage import api, pages

urlpatterns = [
    path("p/<slug:slug>/runs/disk/", pages.page, name="disk"),
    path("p/<slug:slug>/runs/disk/prune/", pages.prune, name="prune"),
]

api_urlpatterns = [
    path("disk/", api.use),
    path("disk/prune/", api.prune),
]
