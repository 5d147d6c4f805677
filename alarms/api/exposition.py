"""What was measured last, in the form in which a tenant's Prometheus fetches it."""

from __future__ import annotations

from django.http import HttpResponse
from django.utils.translation import gettext as _
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request

from alarms.exposition import tenants
from alarms.store.base import StoreError
from scloud.lib import exposition
from scloud.lib.errors import Unavailable
from scloud.rest.negotiation import WhateverIsAccepted
from scloud.rest.views import ActorMixin

RETRY_AFTER_S = 30


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
