"""The console process (daphne): HTTP, and the websocket of events."""

import os
from typing import Any, cast

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "scloud.settings")
django_application = get_asgi_application()

from channels.auth import AuthMiddlewareStack  # noqa: E402  (needs the app registry)
from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402  (as above)
from channels.security.websocket import AllowedHostsOriginValidator  # noqa: E402  (as above)
from django.urls import re_path  # noqa: E402  (as above)

from scloud.web.consumers import EventsConsumer  # noqa: E402  (as above)

# Channels routes ASGI applications with Django's patterns, which are typed for views.
websockets: list[Any] = [re_path(r"^ws/events$", cast(Any, EventsConsumer.as_asgi()))]

application = ProtocolTypeRouter(
    {
        "http": django_application,
        "websocket": AllowedHostsOriginValidator(AuthMiddlewareStack(URLRouter(websockets))),
    }
)
