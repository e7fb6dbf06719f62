"""Addresses of the arena: pages, and below /api/v1/ their twins for programs."""

import re

from django.urls import path

from annotate.arena import api, history_api, pages

# A class of visitors begins at one moment, and people who annotate must not stand behind all of it.
WHERE_BATTLES_BEGIN = re.compile(r"/(api/v1/battles|p/[^/]+/arena)/$")

urlpatterns = [
    path("p/<slug:slug>/arena/", pages.arena, name="arena"),
    path("p/<slug:slug>/arena/history/", pages.history, name="arena-history"),
    path("p/<slug:slug>/arena/<uuid:token>/", pages.battle, name="arena-battle"),
    path("p/<slug:slug>/arena/<uuid:token>/vote/", pages.vote, name="arena-vote"),
    path("p/<slug:slug>/arena/<uuid:token>/proof/", pages.puzzle, name="arena-proof"),
    path("p/<slug:slug>/arena/<uuid:token>/stop/", pages.stop, name="arena-stop"),
    path("p/<slug:slug>/arena/<uuid:token>/turn/", pages.turn, name="arena-turn"),
]

api_urlpatterns = [
    path("battles/", api.start),
    path("projects/<slug:slug>/battles/mine/", history_api.my_battles),
    path("battles/<str:token>/", api.read),
    path("battles/<str:token>/vote/", api.vote),
    path("battles/<str:token>/proof/", api.puzzle),
    path("battles/<str:token>/stop/", api.stop),
    path("battles/<str:token>/turns/", api.ask_on),
]
