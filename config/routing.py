"""Addresses of live pages: each app brings its own."""

import annotate.routing
import training.routing

websocket_urlpatterns = [*annotate.routing.websocket_urlpatterns, *training.routing.websocket_urlpatterns]
