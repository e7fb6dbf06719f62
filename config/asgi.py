"""Serve the web process: pages and API by Django, live pages by Channels."""

import os
import warnings

import django
from channels.auth import AuthMiddlewareStack
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import AllowedHostsOriginValidator

from annotate.core.metrics import shared_folder

# WhiteNoise gives files by plain iterators; ours are small, and Django reads them whole.
warnings.filterwarnings("ignore", message="StreamingHttpResponse must consume synchronous iterators")

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
shared_folder.share()  # before anything counts
django.setup(set_prefix=False)

from annotate.arena.urls import WHERE_BATTLES_BEGIN  # noqa: E402
from annotate.core import heap  # noqa: E402
from annotate.core.asgi.handler import Handler  # noqa: E402 - it and the consumers need the apps to be loaded
from annotate.core.asgi.health import Health  # noqa: E402
from annotate.core.asgi.metrics_endpoint import Metrics  # noqa: E402
from annotate.core.asgi.request_ids import Identified  # noqa: E402
from annotate.core.asgi.socket_limits import Bounded  # noqa: E402
from annotate.labelling.urls import WHERE_ANNOTATIONS_ARE_SENT  # noqa: E402
from config.routing import websocket_urlpatterns  # noqa: E402

application = ProtocolTypeRouter(
    {
        "http": Identified(Health(Metrics(Handler(WHERE_BATTLES_BEGIN, WHERE_ANNOTATIONS_ARE_SENT)))),
        "websocket": Identified(
            Bounded(AllowedHostsOriginValidator(AuthMiddlewareStack(URLRouter(websocket_urlpatterns))))
        ),
    }
)
heap.settle()
