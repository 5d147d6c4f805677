"""The console process: HTTP, and the websocket of events. ``python -m scloud.serve`` runs it."""

import os
from typing import Any, cast

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "scloud.settings")
django.setup(set_prefix=False)

from channels.auth import AuthMiddlewareStack  # noqa: E402  (needs the app registry)
from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402  (as above)
from channels.security.websocket import AllowedHostsOriginValidator  # noqa: E402  (as above)
from django.urls import re_path  # noqa: E402  (as above)

from scloud.web.consumers import EventsConsumer, Guarded  # noqa: E402  (as above)
from scloud.web.handler import Handler  # noqa: E402  (as above)

# Channels routes ASGI applications with Django's patterns, which are typed for views.
websockets: list[Any] = [re_path(r"^ws/events$", cast(Any, EventsConsumer.as_asgi()))]

application = ProtocolTypeRouter(
    {
        "http": Handler(),
        "websocket": Guarded(
            AllowedHostsOriginValidator(AuthMiddlewareStack(URLRouter(websockets)))
        ),
    }
)
