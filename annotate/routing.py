"""Live pages of this app."""

from django.urls import path

from annotate.consumers import BattleConsumer

websocket_urlpatterns: list = [
    path("ws/arena/<uuid:token>/", BattleConsumer.as_asgi(), name="arena-live"),
]
