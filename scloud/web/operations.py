"""The operation log in words: what the right that an entry names stands for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from scloud.verbs.catalogue import all_catalogues

Text = str | Promise

# What is no verb of a row: creating from nothing, money, accounts.
OTHERS: Mapping[str, Text] = {
    "alarms.create_alarm_template": gettext_lazy("Create alarm template"),
    "alarms.create_contact": gettext_lazy("Create contact"),
    "alarms.create_notification_group": gettext_lazy("Create notification group"),
    "alarms.create_silence": gettext_lazy("Create silence"),
    "billing.create_budget": gettext_lazy("Create budget"),
    "billing.recharge": gettext_lazy("Top up"),
    "billing.renew_resources": gettext_lazy("Renew together"),
    "billing.request_quota": gettext_lazy("Request quota"),
    "billing.set_address": gettext_lazy("Change billing address"),
    "billing.set_auto_renew": gettext_lazy("Change auto-renew"),
    "billing.set_default_auto_renew": gettext_lazy("Change default of auto-renew"),
    "billing.set_low_balance": gettext_lazy("Change low-balance notice"),
    "billing.start_payment": gettext_lazy("Start payment"),
    "compute.create_disk": gettext_lazy("Create disk"),
    "compute.create_placement_group": gettext_lazy("Create placement group"),
    "compute.create_ssh_key": gettext_lazy("Add SSH key"),
    "compute.create_vm": gettext_lazy("Create VM"),
    "compute.delete_snapshot_schedule": gettext_lazy("Remove snapshot schedule"),
    "compute.look_at_guest": gettext_lazy("Take screenshot or read console log"),
    "compute.view_vm": gettext_lazy("Ask guest agent"),
    "network.change_security_group": gettext_lazy("Change rules"),
    "network.create_eni": gettext_lazy("Create ENI"),
    "network.create_external_ip": gettext_lazy("Buy external IP"),
    "network.create_security_group": gettext_lazy("Create security group"),
    "network.create_vpc": gettext_lazy("Create VPC"),
    "tenancy.accept_invitation": gettext_lazy("Accept invitation"),
    "tenancy.ask_for_address": gettext_lazy("Ask for a new address"),
    "tenancy.ask_reset": gettext_lazy("Ask for a new password"),
    "tenancy.change_address": gettext_lazy("Change address"),
    "tenancy.change_password": gettext_lazy("Change password"),
    "tenancy.confirm_identity": gettext_lazy("Confirm identity"),
    "tenancy.follow_groups": gettext_lazy("Take role from groups"),
    "tenancy.link_identity": gettext_lazy("Link identity"),
    "tenancy.manage_api_keys": gettext_lazy("Manage API keys"),
    "tenancy.manage_users": gettext_lazy("Manage users"),
    "tenancy.renew_recovery_codes": gettext_lazy("Make new recovery codes"),
    "tenancy.reset_own_password": gettext_lazy("Set a new password"),
    "tenancy.revoke_session": gettext_lazy("End session"),
    "tenancy.set_up_second_factor": gettext_lazy("Set up second factor"),
    "tenancy.sign_in": gettext_lazy("Sign in"),
    "tenancy.sign_out": gettext_lazy("Sign out"),
    "tenancy.turn_off_second_factor": gettext_lazy("Turn off second factor"),
    "tenancy.turn_on_second_factor": gettext_lazy("Turn on second factor"),
    "tenancy.unlink_identity": gettext_lazy("Unlink identity"),
    "tenancy.update_profile": gettext_lazy("Change profile"),
    "tenancy.use_recovery_code": gettext_lazy("Use recovery code"),
}


@cache
def _of_catalogues() -> dict[str, dict[str, Text]]:
    """Return right -> kind -> label of every verb."""
    found: dict[str, dict[str, Text]] = {}
    for catalogue in all_catalogues():
        for verb in (*catalogue.public.values(), *catalogue.internal.values()):
            found.setdefault(verb.permission, {})[catalogue.kind] = verb.label
    return found


def words_of(right: str, kind: str = "") -> str:
    """Return the words for a right; ``kind`` is that of the resource, for which they are shortest.

    Operators' verbs that no page of tenants offers are shown by their name.
    """
    known = _of_catalogues().get(right, {})
    if right in OTHERS:
        return str(OTHERS[right])
    if known:
        return str(known.get(kind) or next(iter(known.values())))
    return right.rpartition(".")[2].replace("_", " ").capitalize()


def title_of(operation: Any) -> str:
    """Return an entry of the log in words, with the name of the resource it is about first."""
    first = operation.resources[0] if operation.resources else {}
    words = words_of(operation.verb, str(first.get("kind", "")))
    name = str(first.get("name") or first.get("id") or "")
    return _("%(operation)s: %(name)s") % {"operation": words, "name": name} if name else words


def choices() -> list[tuple[str, str]]:
    """Return all rights that tenants have verbs for, as choices in the order of their words."""
    rights = {*OTHERS, *(right for right in _of_catalogues() if not right.startswith("platform."))}
    named = [(right, _long(right)) for right in rights]
    return sorted(named, key=lambda one: one[1].casefold())


def _long(right: str) -> str:
    """Return words that tell verbs of different kinds apart."""
    same = {words_of(right, kind) for kind in _of_catalogues().get(right, {})} or {words_of(right)}
    words = max(same, key=len)
    return _("%(operation)s (%(right)s)") % {"operation": words, "right": right}


def saying(word: str) -> Iterator[str]:
    """Yield the rights whose words contain a word, upper and lower case alike."""
    wanted = word.casefold()
    for right in {*OTHERS, *_of_catalogues()}:
        known = _of_catalogues().get(right, {})
        if any(wanted in words_of(right, kind).casefold() for kind in (*known, "")):
            yield right
