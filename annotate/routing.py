"""Live pages of this app."""

websocket_urlpatterns: list = []
