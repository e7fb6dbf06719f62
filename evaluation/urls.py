"""Pages of this app."""

from django.urls import path

from evaluation.annotator_quality.pages import urls as quality
from evaluation.leaderboard.pages import board_page as leaderboard_pages
from evaluation.leaderboard.pages import urls as ranks
from evaluation.measures.pages import evaluations_page, items_page, new_evaluation, over_optimisation_page
from evaluation.measures.pages import urls as compare
from evaluation.promotion.pages import urls as decisions
from evaluation.registry.pages import export_page, model_pages
from evaluation.vote_integrity import urls as vote_integrity
from training.runs.present.kind_sections import FORM_PAGES, FormPage

FORM_PAGES.register(FormPage("evaluate", new_evaluation.page))  # here, since urls alone import pages

urlpatterns = [
    path("p/<slug:slug>/leaderboard/", leaderboard_pages.leaderboard, name="leaderboard"),
    path("p/<slug:slug>/leaderboard/leaderboard.csv", leaderboard_pages.leaderboard_csv, name="leaderboard-csv"),
    path("p/<slug:slug>/leaderboard/leaderboard.json", leaderboard_pages.leaderboard_json, name="leaderboard-json"),
    path("p/<slug:slug>/leaderboard/leaderboard.png", leaderboard_pages.leaderboard_png, name="leaderboard-png"),
    path("p/<slug:slug>/models/", model_pages.models, name="models"),
    path("models/<int:pk>/", model_pages.model, name="model"),
    path("models/<int:pk>/README.md", model_pages.card, name="model-card"),
    path("runs/<int:run_id>/export/<str:name>", export_page.download, name="export-file"),
    path("p/<slug:slug>/evaluations/", evaluations_page.page, name="evaluations"),
    path("p/<slug:slug>/evaluations/evaluations.csv", evaluations_page.table, name="evaluations-csv"),
    path("runs/<int:run_id>/items/", items_page.page, name="run-items"),
    path("runs/<int:run_id>/items.jsonl", items_page.download, {"format": "jsonl"}, name="run-items-jsonl"),
    path("runs/<int:run_id>/items.csv", items_page.download, {"format": "csv"}, name="run-items-csv"),
    path("runs/<int:run_id>/score-and-people.<str:format>", over_optimisation_page.download, name="score-and-people"),
    path("models/<int:pk>/lineage/", model_pages.lineage, name="lineage"),
    *compare.urlpatterns,
    *ranks.urlpatterns,
    *decisions.urlpatterns,
    *quality.urlpatterns,
    *vote_integrity.urlpatterns,
]
