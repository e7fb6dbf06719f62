"""Live pages of this app."""

from django.urls import path

from evaluation.consumers import LeaderboardPage

websocket_urlpatterns = [path("ws/p/<slug:slug>/leaderboard/", LeaderboardPage.as_asgi())]
