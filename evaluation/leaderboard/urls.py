"""Addresses of the leaderboard and of what stands beside it: pages with their files, and below /api/v1/ their twins."""

from django.urls import path, re_path

from evaluation.leaderboard.api import leaderboard, ranks
from evaluation.leaderboard.pages import alternative_ratings_page, board_page, pairs_page, rating_history_page

_BOARD = r"^p/(?P<slug>[-\w]+)/leaderboard/"
_FILE = r"\.(?P<form>csv|json|png)$"

urlpatterns = [
    path("p/<slug:slug>/leaderboard/", board_page.leaderboard, name="leaderboard"),
    path("p/<slug:slug>/leaderboard/leaderboard.csv", board_page.leaderboard_csv, name="leaderboard-csv"),
    path("p/<slug:slug>/leaderboard/leaderboard.json", board_page.leaderboard_json, name="leaderboard-json"),
    path("p/<slug:slug>/leaderboard/leaderboard.png", board_page.leaderboard_png, name="leaderboard-png"),
    re_path(_BOARD + r"pairs/$", pairs_page.pairs, name="leaderboard-pairs"),
    re_path(_BOARD + "pairs" + _FILE, pairs_page.pairs_file, name="leaderboard-pairs-file"),
    re_path(_BOARD + r"over-time/$", rating_history_page.page, name="leaderboard-over-time"),
    re_path(_BOARD + "over-time" + _FILE, rating_history_page.file, name="leaderboard-over-time-file"),
    re_path(_BOARD + r"counted-otherwise/$", alternative_ratings_page.page, name="leaderboard-other-ways"),
    re_path(_BOARD + "counted-otherwise" + _FILE, alternative_ratings_page.file, name="leaderboard-other-ways-file"),
]

api_urlpatterns = [
    path("leaderboard/", leaderboard.leaderboard),
    path("leaderboard/pairs/", ranks.pairs),
    path("leaderboard/over-time/", ranks.over_time),
    path("leaderboard/counted-otherwise/", ranks.counted_otherwise),
]
