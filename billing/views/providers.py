"""What payment providers reach: the address for their news, and the page of the sandbox.

Nobody is signed in here. News is believed by its signature alone; the sandbox's page is known by an
unguessable address, as the pages of providers are.
"""

import logging
from typing import Final

from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.views import View
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt

from billing import money, settling
from billing.models import SandboxPayment
from billing.payments import registry, sandbox
from billing.payments.base import BadNews, State
from scloud.lib.bodies import BodyRule

log = logging.getLogger(__name__)

MOST_BYTES: Final = 65_536


# A signature over the bytes takes the place of the token: a provider has no session.
@method_decorator(csrf_exempt, name="dispatch")
class PaymentEventView(View):
    """News of a provider: 204 where it was taken in, also when it was known already.

    400 for what is not signed, too old or not understood; 404 where the payment is not known, so
    that the provider tries again.
    """

    http_method_names = ["post"]
    body_rule = BodyRule(lambda: MOST_BYTES)

    def post(self, request: HttpRequest, provider: str) -> HttpResponse:
        try:
            settling.receive(provider, request.headers, request.body)
        except BadNews as error:
            log.warning("news in the name of %s was refused: %s", provider, error)
            return HttpResponse(status=400)
        except settling.UnknownProvider:
            return HttpResponse(status=404)
        except settling.UnknownPayment as error:
            log.warning("news of %s about %s, which is not known", provider, error)
            return HttpResponse(status=404)
        return HttpResponse(status=204)


@method_decorator(never_cache, name="dispatch")
class SandboxView(View):
    """The sandbox's page of a payment. It is there only where the sandbox is switched on."""

    http_method_names = ["get", "post"]

    def get(self, request: HttpRequest, token: str) -> HttpResponse:
        row = self._find(token)
        context = {
            "payment": row,
            "amount": money.from_minor(row.amount_minor),
            "is_open": row.state == State.OPEN,
        }
        return render(request, "billing/sandbox.html", context)

    def post(self, request: HttpRequest, token: str) -> HttpResponse:
        """Take the answer, send the news of it, and send the browser back."""
        row = self._find(token)
        answered = sandbox.ANSWERS.get(request.POST.get("answer", ""))
        if answered is None:
            return HttpResponse(status=400)
        event = sandbox.answer(token, answered)
        if event is not None:
            try:
                settling.deliver(event, timezone.now())
            except (BadNews, LookupError) as error:
                # The sweeper sends it again.
                log.warning("news of the sandbox was not taken in: %r", error)
        return HttpResponseRedirect(row.return_url)

    @staticmethod
    def _find(token: str) -> SandboxPayment:
        row = sandbox.find(token) if registry.provider(sandbox.Sandbox.key) is not None else None
        if row is None:
            raise Http404
        return row
