"""Addresses of models with their cards, and of exports: pages, and below /api/v1/ their twins for programs."""

from django.urls import path

from evaluation.registry import api
from evaluation.registry.pages import export_page, model_pages

urlpatterns = [
    path("p/<slug:slug>/models/", model_pages.models, name="models"),
    path("models/<int:pk>/", model_pages.model, name="model"),
    path("models/<int:pk>/README.md", model_pages.card, name="model-card"),
    path("models/<int:pk>/lineage/", model_pages.lineage, name="lineage"),
    path("runs/<int:run_id>/export/<str:name>", export_page.download, name="export-file"),
]

api_urlpatterns = [
    path("models/<str:pk>/card/", api.card),
    path("runs/<str:pk>/export/<str:name>", api.export_file),
]
