"""Pages that set models beside each other: on one task, and along a lineage."""

from django.urls import path

from evaluation.measures.api import comparison as api
from evaluation.measures.pages import alignment_tax_page as tax_page
from evaluation.measures.pages import comparison_page as compare_page

urlpatterns = [
    path("p/<slug:slug>/evaluations/compare/", compare_page.page, name="compare"),
    path("p/<slug:slug>/evaluations/compare/items/", compare_page.item_differences, name="compare-items"),
    path("p/<slug:slug>/evaluations/compare/comparison.<str:format>", compare_page.download, name="compare-download"),
    path("models/<int:pk>/tax/", tax_page.page, name="tax"),
    path("models/<int:pk>/tax/measure/", tax_page.measure_missing, name="tax-measure"),
    path("models/<int:pk>/tax/tax.<str:format>", tax_page.download, name="tax-download"),
]

api_urlpatterns = [
    path("evaluations/compare/", api.comparison),
    path("models/<str:pk>/tax/", api.alignment_tax),
]
