"""Pages of this app."""

from django.urls import path

from evaluation import views

urlpatterns = [
    path("p/<slug:slug>/leaderboard/", views.leaderboard, name="leaderboard"),
    path("p/<slug:slug>/leaderboard/leaderboard.csv", views.leaderboard_csv, name="leaderboard-csv"),
    path("p/<slug:slug>/leaderboard/leaderboard.json", views.leaderboard_json, name="leaderboard-json"),
    path("p/<slug:slug>/leaderboard/promote/", views.promote, name="promote"),
    path("models/<int:pk>/lineage/", views.lineage, name="lineage"),
]
