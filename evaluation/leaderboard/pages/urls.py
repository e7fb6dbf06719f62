"""Pages beside the leaderboard: pairs, over time, counted otherwise; each with its files."""

from django.urls import path, re_path

from evaluation.leaderboard.api import ranks as api
from evaluation.leaderboard.pages import alternative_ratings_page, pairs_page, rating_history_page

_BOARD = r"^p/(?P<slug>[-\w]+)/leaderboard/"
_FILE = r"\.(?P<form>csv|json|png)$"

urlpatterns = [
    re_path(_BOARD + r"pairs/$", pairs_page.pairs, name="leaderboard-pairs"),
    re_path(_BOARD + "pairs" + _FILE, pairs_page.pairs_file, name="leaderboard-pairs-file"),
    re_path(_BOARD + r"over-time/$", rating_history_page.page, name="leaderboard-over-time"),
    re_path(_BOARD + "over-time" + _FILE, rating_history_page.file, name="leaderboard-over-time-file"),
    re_path(_BOARD + r"counted-otherwise/$", alternative_ratings_page.page, name="leaderboard-other-ways"),
    re_path(_BOARD + "counted-otherwise" + _FILE, alternative_ratings_page.file, name="leaderboard-other-ways-file"),
]

api_urlpatterns = [
    path("leaderboard/pairs/", api.pairs),
    path("leaderboard/over-time/", api.over_time),
    path("leaderboard/counted-otherwise/", api.counted_otherwise),
]
