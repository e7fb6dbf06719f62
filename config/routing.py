"""Collect the addresses of live pages: each app brings its own."""

import annotate.routing
import evaluation.routing
import training.routing
from config.addresses import sockets

websocket_urlpatterns = [
    *annotate.routing.websocket_urlpatterns,
    *training.routing.websocket_urlpatterns,
    *evaluation.routing.websocket_urlpatterns,
]

SOCKETS = dict(sockets(websocket_urlpatterns))  # {address: right}
