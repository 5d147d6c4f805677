"""SSH keys as people keep them."""

from __future__ import annotations

from django.db.models import QuerySet
from django.utils.translation import gettext as _

from billing import ledger
from compute.models import SshKey
from compute.models.ssh_key import SSH_KEYS_PER_TENANT
from compute.rules import sshkeys
from compute.rules.validation import check_name, check_ssh_keys
from scloud.audit.action import action, note
from scloud.audit.events import emit
from scloud.lib.errors import Conflict, InvalidInput, NotFound
from scloud.tenancy.actor import Actor


@action("compute.create_ssh_key")
def create_ssh_key(*, actor: Actor, name: str, public_key: str) -> SshKey:
    """Keep a public key under a name.

    Raises InvalidInput (``name_invalid``, ``ssh_key_missing``, ``ssh_key_several``, those of
    ``check_ssh_keys``), Conflict (``ssh_key_known``, ``too_many_ssh_keys``).
    """
    if actor.tenant is None:
        raise InvalidInput(_("Specify a tenant."), code="tenant_missing", field="tenant")
    name = check_name(name.strip())
    text = _one_key(public_key)
    # So that two of them do not both become the last one, and the same key is kept once.
    ledger.lock_account(actor.tenant)
    fingerprint = sshkeys.fingerprint(text)
    known = _kept().filter(fingerprint=fingerprint).first()
    if known is not None:
        raise Conflict(
            _("This key is kept already, as %(name)s.") % {"name": known.name},
            code="ssh_key_known",
            field="public_key",
            numbers={"ssh_key": known.pk},
        )
    used = _kept().count()
    if used >= SSH_KEYS_PER_TENANT:
        raise Conflict(
            _("At most %(limit)d SSH keys are kept.") % {"limit": SSH_KEYS_PER_TENANT},
            code="too_many_ssh_keys",
            remedy=_("Delete one that is not used."),
            numbers={"limit": SSH_KEYS_PER_TENANT, "used": used},
        )
    key = SshKey(
        tenant=actor.tenant,
        name=name,
        public_key=text,
        key_type=text.split()[0],
        fingerprint=fingerprint,
    )
    key.save(force_insert=True)
    note(key, after={"name": key.name, "fingerprint": fingerprint})
    _tell(key, "created")
    return key


@action("compute.rename_ssh_key")
def rename_ssh_key(*, actor: Actor, ssh_key: SshKey, name: str) -> SshKey:
    """Give a key another name. Raises InvalidInput (``name_invalid``), NotFound."""
    name = check_name(name.strip())
    key = _locked(ssh_key)
    if name != key.name:
        note(key, before={"name": key.name}, after={"name": name})
        key.name = name
        key.save(update_fields=["name"])
        _tell(key, "renamed")
    return key


@action("compute.delete_ssh_key")
def delete_ssh_key(*, actor: Actor, ssh_key: SshKey) -> None:
    """Forget a key; what VMs were given stays on them. Raises NotFound."""
    key = _locked(ssh_key)
    note(key, before={"name": key.name, "fingerprint": key.fingerprint})
    _tell(key, "deleted")
    key.delete()


def _kept() -> QuerySet[SshKey]:
    """The keys of the open scope, which is the tenant's."""
    rows: QuerySet[SshKey] = SshKey.objects.all()
    return rows


def _locked(ssh_key: SshKey) -> SshKey:
    found = _kept().select_for_update(of=("self",)).filter(pk=ssh_key.pk).first()
    if found is None:
        raise NotFound(_("There is no SSH key %(id)s.") % {"id": ssh_key.pk})
    return found


def _one_key(text: str) -> str:
    """Return the one key in a text, on one line."""
    found = check_ssh_keys(text, field="public_key")
    if not found:
        raise InvalidInput(
            _("Enter an SSH public key."),
            code="ssh_key_missing",
            field="public_key",
            remedy=_("Paste the content of a .pub file, such as ~/.ssh/id_ed25519.pub."),
        )
    if "\n" in found:
        raise InvalidInput(
            _("Enter one key at a time."),
            code="ssh_key_several",
            field="public_key",
            numbers={"max": 1, "asked": found.count("\n") + 1},
        )
    return found


def _tell(key: SshKey, verb: str) -> None:
    emit(
        tenant_id=key.tenant_id,
        kind=f"{SshKey.KIND}.{verb}",
        resource_kind=SshKey.KIND,
        resource_id=key.pk,
        data={"name": key.name},
    )
