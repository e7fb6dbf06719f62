"""Addresses of the catalogue of corpora: pages, and below /api/v1/ their twins for programs."""

from django.urls import path

from training.corpora import api, pages

urlpatterns = [
    path("p/<slug:slug>/data/catalogue/", pages.catalogue, name="catalogue"),
    path("p/<slug:slug>/data/catalogue/upload/", pages.upload, name="corpus-upload"),
]

api_urlpatterns = [
    path("corpora/", api.corpora_sources),
]
