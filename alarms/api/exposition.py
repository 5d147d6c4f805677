"""What was measured last, in the form in which a tenant's Prometheus fetches it."""

from __future__ import annotations

from collections.abc import Iterable

from django.http import HttpResponse
from django.utils.translation import gettext as _
from drf_spectacular.utils import extend_schema
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.parsers import BaseParser
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request

from alarms.exposition import tenants
from alarms.store.base import StoreError
from scloud.lib import exposition
from scloud.lib.errors import Unavailable
from scloud.rest.views import ActorMixin

RETRY_AFTER_S = 30


class WhateverIsAccepted(BaseContentNegotiation):
    """The answer is one text, whatever scrapers prefer; refusals have the form of all others."""

    def select_parser(self, request: Request, parsers: Iterable[BaseParser]) -> BaseParser:
        """Return the first: the view takes no body."""
        return next(iter(parsers))

    def select_renderer(
        self,
        request: Request,
        renderers: Iterable[BaseRenderer],
        format_suffix: str | None = None,
    ) -> tuple[BaseRenderer, str]:
        """Return the first, with its own media type."""
        first = next(iter(renderers))
        return first, str(first.media_type)


@extend_schema(tags=["Monitoring"])
class PrometheusView(ActorMixin):
    """Measurements for Prometheus."""

    view_permission = "alarms.view_metrics"
    content_negotiation_class = WhateverIsAccepted

    @extend_schema(operation_id="export_metrics", responses={(200, "text/plain"): str})
    def get(self, request: Request) -> HttpResponse:
        """Return what was measured last of all VMs and external IPs, in Prometheus' text format.

        Give the API key as the bearer token. VMs are there if the key may use `compute.view_vm`,
        external IPs if it may use `network.view_external_ip`. A scrape interval of 30 seconds sees
        every sample.
        """
        try:
            found = tenants.families(
                vms=self.actor.allows("compute.view_vm"),
                external_ips=self.actor.allows("network.view_external_ip"),
            )
        except StoreError as error:
            raise Unavailable(
                _("Measurements are unavailable for a moment."),
                code="metrics_unavailable",
                remedy=_("Try again in a minute."),
                detail=error.message,
                numbers={"retry_after_s": RETRY_AFTER_S},
            ) from error
        return HttpResponse(exposition.document(found), content_type=exposition.CONTENT_TYPE)
