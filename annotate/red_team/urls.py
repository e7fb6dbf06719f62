"""Addresses of red teaming: pages, and below /api/v1/ their twins for programs."""

from django.urls import path

from annotate.red_team import api, pages

urlpatterns = [
    path("p/<slug:slug>/red-team/", pages.red_team_page, name="red-team"),
    path("p/<slug:slug>/red-team/rate/", pages.rate, name="red-team-rate"),
    path("p/<slug:slug>/red-team/attacks/", pages.attacks, name="attacks"),
    path("p/<slug:slug>/red-team/attacks/<int:pk>/withdraw/", pages.withdraw, name="attack-withdraw"),
    path("account/harm/", pages.harm, name="harm"),
]

api_urlpatterns = [
    path("harm-budget/", api.budget),
    path("projects/<slug:slug>/talks/", api.begin),
    path("projects/<slug:slug>/attacks/", api.attacks),
    path("projects/<slug:slug>/attacks/<str:pk>/withdraw/", api.withdraw),
    path("talks/<str:token>/", api.talk),
    path("talks/<str:token>/say/", api.say),
    path("talks/<str:token>/rate/", api.rate),
]
