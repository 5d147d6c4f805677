"""What somebody has filled into the create wizard so far: choices, values, price, refusals.

Everything is read tolerantly: a part that makes no sense gets an error beside it and the rest is
still shown and priced. Whether it can be bought is decided by ``create_vms`` alone.
"""

from __future__ import annotations

from django.http import QueryDict

from compute.views.vms.draft.checks import check_typed
from compute.views.vms.draft.choices import Hardware, Network, Terms
from compute.views.vms.draft.login import Login
from compute.views.vms.draft.order import Purchase
from compute.views.vms.draft.typed import Typed
from scloud.resources.models import Region
from scloud.tenancy.actor import Actor


class Draft:
    """The wizard's state for one request."""

    def __init__(
        self,
        *,
        actor: Actor,
        region: Region,
        data: QueryDict | None = None,
        pressed: bool = False,
    ) -> None:
        self.typed = Typed(actor=actor, region=region, data=data, pressed=pressed)
        self.terms = Terms(self.typed)
        self.hardware = Hardware(self.typed, self.terms)
        self.network = Network(self.typed)
        self.login = Login(self.typed)
        self.purchase = Purchase(self.typed, self.terms, self.hardware, self.network, self.login)

    def check(self) -> None:
        """Refuse all that is wrong, each beside its field; call it after the price.

        Fields that are still empty are left alone until somebody wants to buy.
        """
        check_typed(self.typed, self.terms, self.network, self.login)
        if self.typed.pressed or self.typed.errors:
            self.purchase.refuse_all()

    @property
    def changed_parts(self) -> set[str]:
        """Parts of the page that depend on something that was just changed."""
        out = set()
        cluster = str(self.hardware.cluster.pk) if self.hardware.cluster else ""
        if self.typed.text("seen_cluster") != cluster:
            out |= {"images", "specs", "gpu"}
        if self.typed.text("seen_size") != self.hardware.size_key:
            out.add("specs")
        if self.typed.text("seen_method") != self.terms.method.value:
            out.add("periods")
        if self.typed.text("seen_count") != str(self.terms.count):
            out.add("rows")
        if self.typed.text("seen_keys") != self.login.keys_seen:
            out.add("keys")
        return out
