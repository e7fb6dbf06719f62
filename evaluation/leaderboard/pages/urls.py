"""Pages beside the leaderboard: pairs, over time, counted otherwise; each with its files."""

from django.urls import path, re_path

from evaluation.leaderboard.api import ranks as api
from evaluation.leaderboard.pages import alternative_ratings_page as other_ways_page
from evaluation.leaderboard.pages import pairs_page
from evaluation.leaderboard.pages import rating_history_page as over_time_page

_BOARD = r"^p/(?P<slug>[-\w]+)/leaderboard/"
_FILE = r"\.(?P<form>csv|json|png)$"

urlpatterns = [
    re_path(_BOARD + r"pairs/$", pairs_page.pairs, name="leaderboard-pairs"),
    re_path(_BOARD + "pairs" + _FILE, pairs_page.pairs_file, name="leaderboard-pairs-file"),
    re_path(_BOARD + r"over-time/$", over_time_page.page, name="leaderboard-over-time"),
    re_path(_BOARD + "over-time" + _FILE, over_time_page.file, name="leaderboard-over-time-file"),
    re_path(_BOARD + r"counted-otherwise/$", other_ways_page.page, name="leaderboard-other-ways"),
    re_path(_BOARD + "counted-otherwise" + _FILE, other_ways_page.file, name="leaderboard-other-ways-file"),
]

api_urlpatterns = [
    path("leaderboard/pairs/", api.pairs),
    path("leaderboard/over-time/", api.over_time),
    path("leaderboard/counted-otherwise/", api.counted_otherwise),
]
