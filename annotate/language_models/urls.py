"""Addresses of language models: pages, and below /api/v1/ their twins for programs."""

from django.urls import path
from rest_framework.routers import SimpleRouter

from annotate.language_models import api, endpoint_pages, pages

router = SimpleRouter()
router.register("models", api.Models)

urlpatterns = [
    path("p/<slug:slug>/models/<int:pk>/", pages.arena_entry, name="arena-entry"),
    path("models/<int:pk>/retire/", pages.retire, name="model-retire"),
    path("models/<int:pk>/bring-back/", pages.bring_back, name="model-bring-back"),
    path("models/<int:pk>/share/", pages.share, name="model-share"),
    path("p/<slug:slug>/models/new/", endpoint_pages.register, name="new-model"),
    path("models/<int:pk>/settings/", endpoint_pages.model_settings, name="model-settings"),
    path("models/<int:pk>/ask/", endpoint_pages.ask, name="model-ask"),
    path("models/<int:pk>/serving/", pages.model_serving, name="model-serving"),
]
