"""Addresses of evaluations and of what sets models beside each other: pages, and below /api/v1/ their twins."""

from django.urls import path
from rest_framework.routers import SimpleRouter

from evaluation.measures.api import comparison, evaluation_runs
from evaluation.measures.pages import (
    alignment_tax_page,
    comparison_page,
    evaluations_page,
    items_page,
    over_optimisation_page,
)

router = SimpleRouter()
router.register("evaluations", evaluation_runs.Evaluations)

urlpatterns = [
    path("p/<slug:slug>/evaluations/", evaluations_page.page, name="evaluations"),
    path("p/<slug:slug>/evaluations/evaluations.csv", evaluations_page.table, name="evaluations-csv"),
    path("runs/<int:run_id>/items/", items_page.page, name="run-items"),
    path("runs/<int:run_id>/items.jsonl", items_page.download, {"format": "jsonl"}, name="run-items-jsonl"),
    path("runs/<int:run_id>/items.csv", items_page.download, {"format": "csv"}, name="run-items-csv"),
    path("runs/<int:run_id>/score-and-people.<str:format>", over_optimisation_page.download, name="score-and-people"),
    path("p/<slug:slug>/evaluations/compare/", comparison_page.page, name="compare"),
    path("p/<slug:slug>/evaluations/compare/items/", comparison_page.item_differences, name="compare-items"),
    path(
        "p/<slug:slug>/evaluations/compare/comparison.<str:format>", comparison_page.download, name="compare-download"
    ),
    path("models/<int:pk>/tax/", alignment_tax_page.page, name="tax"),
    path("models/<int:pk>/tax/measure/", alignment_tax_page.measure_missing, name="tax-measure"),
    path("models/<int:pk>/tax/tax.<str:format>", alignment_tax_page.download, name="tax-download"),
]

api_urlpatterns = [
    path("evaluations/compare/", comparison.comparison),
    path("runs/<str:pk>/items/", evaluation_runs.run_items),
    path("models/<str:pk>/tax/", comparison.alignment_tax),
]
