"""Addresses of live pages: each app brings its own."""

import annotate.routing
import evaluation.routing
import training.routing

websocket_urlpatterns = [
    *annotate.routing.websocket_urlpatterns,
    *training.routing.websocket_urlpatterns,
    *evaluation.routing.websocket_urlpatterns,
]
