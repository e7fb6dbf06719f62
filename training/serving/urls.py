"""Addresses of adapters that are served hot: a page, and below /api/v1/ its twin for programs."""

from django.urls import path

from training.serving import api, pages

urlpatterns = [path("models/<int:pk>/adapters/", pages.adapters, name="adapters")]

api_urlpatterns = [path("models/<str:pk>/adapters/", api.adapters)]
