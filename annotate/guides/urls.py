"""Addresses of the guides: pages alone."""

from django.urls import path

from annotate.guides import pages

urlpatterns = [
    path("guides/", pages.guides, name="guides"),
    path("guides/<slug:name>/", pages.guide, name="guide"),
]
