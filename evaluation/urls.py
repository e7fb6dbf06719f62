"""Pages of this app."""

from django.urls import path

from evaluation.routes import compare, decisions, held, quality, ranks
from evaluation.views import (
    evaluations_page,
    export_page,
    items_page,
    leaderboard_pages,
    model_pages,
    new_evaluation,
    overoptimisation_page,
)
from training.views import kind_pages

kind_pages.NEW["evaluate"] = new_evaluation.page  # training asks no app above it for a page

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
    path("runs/<int:run_id>/score-and-people.<str:format>", overoptimisation_page.download, name="score-and-people"),
    path("models/<int:pk>/lineage/", model_pages.lineage, name="lineage"),
    *compare.urlpatterns,
    *ranks.urlpatterns,
    *decisions.urlpatterns,
    *quality.urlpatterns,
    *held.urlpatterns,
]
