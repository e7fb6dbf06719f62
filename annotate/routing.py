"""Live pages of this app."""

from django.urls import path

from annotate.consumers import BattleConsumer
from annotate.playground.playground_consumer import PlaygroundConsumer
from annotate.red_team.talk_consumer import TalkConsumer

websocket_urlpatterns: list = [
    path("ws/red-team/<uuid:token>/", TalkConsumer.as_asgi(), name="red-team-live"),
    path("ws/arena/<uuid:token>/", BattleConsumer.as_asgi(), name="arena-live"),
    path("ws/models/<int:pk>/playground/", PlaygroundConsumer.as_asgi(), name="playground-live"),
    path("ws/models/<int:pk>/playground/<int:beside>/", PlaygroundConsumer.as_asgi(), name="playground-live-pair"),
]
