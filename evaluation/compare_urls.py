"""Pages that set models beside each other: on one task, and along a lineage."""

from django.urls import path

from evaluation import compare_api, compare_page

urlpatterns = [
    path("p/<slug:slug>/evaluations/compare/", compare_page.page, name="compare"),
    path("p/<slug:slug>/evaluations/compare/items/", compare_page.item_differences, name="compare-items"),
    path("p/<slug:slug>/evaluations/compare/comparison.<str:format>", compare_page.download, name="compare-download"),
]

api_urlpatterns = [
    path("evaluations/compare/", compare_api.comparison),
]
