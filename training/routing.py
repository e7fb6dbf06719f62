"""Live pages of this app."""

from django.urls import path

from training import consumers

websocket_urlpatterns = [
    path("ws/runs/<int:run_id>/", consumers.RunPage.as_asgi()),
    path("ws/p/<slug:slug>/runs/", consumers.RunList.as_asgi()),
]
