"""Identity providers: what administrators of the platform say of them, and what is read there.

A provider is read by a job, so that no page waits on it. Whoever may change one may make anybody
staff by it: it is for administrators alone.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from django.core.exceptions import ValidationError
from django.utils import timezone
from django.utils.translation import gettext as _

from scloud.audit import action as audit
from scloud.audit.action import action
from scloud.jobs import service as jobs
from scloud.jobs.handlers import Context, Handler, Step, register
from scloud.jobs.models import Job
from scloud.lib import keys, oidc
from scloud.lib.errors import Conflict, InvalidInput, ScloudError
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import (
    CustomRole,
    GroupMapping,
    Identity,
    IdentityProvider,
    Tenant,
)
from scloud.tenancy.permissions import Role
from scloud.tenancy.scoping import scopes_disabled
from scloud.tenancy.staff import StaffRole

TEST: Final = "identity_provider.test"
#: Groups of a provider that mean something here.
MAX_MAPPINGS: Final = 200
#: After so long the keys of a provider are read again before one is believed: it may have withdrawn
#: one.
KEYS_LIVE: Final = timedelta(hours=1)
#: A key that is not known has them read again at most so often, whoever asks.
_KEYS_AGAIN: Final = timedelta(seconds=30)
#: Of :attr:`IdentityProvider.domains`: those of all addresses.
ANY_DOMAIN: Final = "*"
_DOMAIN: Final = re.compile(r"(?!-)[\w-]{1,63}(?<!-)(\.(?!-)[\w-]{1,63}(?<!-))+")
_DEADLINE_S: Final = 120.0
_LONGEST_SECRET: Final = 1000
_LOGGED: Final = (
    "label", "issuer", "client_id", "scopes", "groups_claim", "is_on", "creates_users",
    "domains", "factor_values",
)  # fmt: skip


@dataclass(frozen=True)
class Mapped:
    """What a group means: a tenant with a role, or a role of the staff.

    ``gone`` is the ID of a role that the tenant has deleted: whoever is in the group is refused.
    """

    group: str
    tenant: Tenant | None = None
    role: str = ""
    custom_role: CustomRole | None = None
    staff_role: str = ""
    gone: str = ""


def check_secret(secret: str, before: IdentityProvider | None, provider: IdentityProvider) -> None:
    """Raise InvalidInput (``secret_missing``, ``secret_invalid``) where it has to be entered.

    A kept one is never sent to another place.
    """
    if not secret:
        same = before is not None and (
            (before.issuer, before.client_id) == (provider.issuer, provider.client_id)
        )
        if not same:
            raise InvalidInput(
                _("Enter the client secret."), code="secret_missing", field="new_secret"
            )
    elif len(secret) > _LONGEST_SECRET or not secret.isascii() or not secret.isprintable():
        raise InvalidInput(
            _("This secret cannot be used."), code="secret_invalid", field="new_secret"
        )


def check_issuer_kept(before: IdentityProvider | None, provider: IdentityProvider) -> None:
    """Raise Conflict (``provider_in_use``) for another issuer where people are linked.

    Nobody would be known by it, and who has no password would have no way in.
    """
    if before is None or before.issuer == provider.issuer:
        return
    linked = Identity.objects.filter(provider=before).count()
    if linked:
        raise Conflict(
            _("%(count)s users are linked to %(provider)s.")
            % {"count": linked, "provider": before.label},
            code="provider_in_use",
            field="issuer",
            remedy=_("Enter the other issuer as a new provider."),
            numbers={"users": linked},
        )


def check(provider: IdentityProvider) -> None:
    """Raise InvalidInput for what cannot be a provider.

    ``url_invalid``, ``url_not_https``, ``scopes_invalid``, ``domains_missing``,
    ``domains_invalid``.
    """
    oidc.check_issuer(provider.issuer)
    if "openid" not in provider.scopes.split():
        raise InvalidInput(
            _("The scopes must include openid."), code="scopes_invalid", field="scopes"
        )
    domains = provider.domains.split()
    if provider.creates_users and not domains:
        raise InvalidInput(
            _("Enter the domains of the addresses of users that it creates."),
            code="domains_missing",
            field="domains",
        )
    wrong = [one for one in domains if one != ANY_DOMAIN and not _DOMAIN.fullmatch(one)]
    if wrong:
        raise InvalidInput(
            _("%(name)s is not a domain.") % {"name": wrong[0]},
            code="domains_invalid",
            field="domains",
        )


def may_create(provider: IdentityProvider, email: str) -> bool:
    """Tell whether a provider may make the user of an address: whether its domain is one of its."""
    domain = email.rpartition("@")[2].casefold()
    allowed = {one.casefold() for one in provider.domains.split()}
    return ANY_DOMAIN in allowed or domain in allowed


def check_mapping(mapped: Mapped) -> None:
    """Raise InvalidInput (``group_invalid``, ``mapping_invalid``) for what means nothing."""
    if not 1 <= len(mapped.group) <= 255 or not mapped.group.isprintable():
        raise InvalidInput(
            _("A group has 1 to 255 characters."), code="group_invalid", field="group"
        )
    if mapped.tenant is None:
        right = mapped.staff_role in StaffRole.values and not (
            mapped.role or mapped.custom_role or mapped.gone
        )
    else:
        own = mapped.custom_role
        right = not mapped.staff_role and (
            (own is None and (mapped.role == "" if mapped.gone else mapped.role in Role.values))
            or (own is not None and not mapped.role and own.tenant_id == mapped.tenant.pk)
        )
    if not right:
        raise _means_nothing()


def _means_nothing() -> InvalidInput:
    return InvalidInput(
        _("Choose a tenant and one role in it, or a role of the staff."),
        code="mapping_invalid",
        field="group",
    )


def dangling(provider: IdentityProvider) -> list[GroupMapping]:
    """Return the groups whose role its tenant has deleted; who is in one is refused."""
    with scopes_disabled():
        rows = provider.mappings.exclude(custom_role_id=None)
        return list(rows.exclude(custom_role_id__in=CustomRole.objects.values("pk")))


@action("platform.save_identity_provider")
def save_identity_provider(
    *, actor: Actor, provider: IdentityProvider, secret: str = ""
) -> IdentityProvider:
    """Store a new or changed provider and have it read; an empty secret stays as it is.

    Raises InvalidInput (``provider_invalid``, ``url_invalid``, ``url_not_https``,
    ``scopes_invalid``, ``domains_missing``, ``domains_invalid``, ``secret_missing``,
    ``secret_invalid``) and Conflict (``provider_in_use``).
    """
    before = IdentityProvider.objects.select_for_update().filter(pk=provider.pk).first()
    try:
        provider.full_clean()
    except ValidationError as error:
        field, texts = next(iter(error.message_dict.items()))
        raise InvalidInput(texts[0], code="provider_invalid", field=field) from error
    check(provider)
    check_issuer_kept(before, provider)
    check_secret(secret, before, provider)
    if secret:
        provider.sealed_secret = keys.box().encrypt(secret.encode()).decode()
    else:
        assert before is not None, "else it needs one"
        provider.sealed_secret = before.sealed_secret
    if before is None or before.issuer != provider.issuer:
        # What was read belongs to another one.
        provider.endpoints, provider.public_keys, provider.keys_read_at = {}, [], None
    else:
        # Read meanwhile, perhaps; the form has what was there when it was opened.
        provider.endpoints, provider.public_keys = before.endpoints, before.public_keys
        provider.keys_read_at = before.keys_read_at
    provider.tested_at, provider.test_error = None, ""
    provider.save()
    if before is not None:
        audit.note(before={name: getattr(before, name) for name in _LOGGED})
    audit.note(
        provider,
        after={
            **{name: getattr(provider, name) for name in _LOGGED},
            "secret": "changed" if secret else "kept",
        },
    )
    _enqueue(actor, provider)
    return provider


@action("platform.save_identity_provider")
def set_group_mappings(
    *, actor: Actor, provider: IdentityProvider, mappings: Sequence[Mapped]
) -> None:
    """Say what the groups of a provider mean; the first that fits counts.

    It holds from the next sign-in of each person on. A role that is gone can only be kept where it
    was. Raises InvalidInput (``group_invalid``, ``mapping_invalid``, ``too_many_groups``).
    """
    IdentityProvider.objects.select_for_update().get(pk=provider.pk)
    if len(mappings) > MAX_MAPPINGS:
        raise InvalidInput(
            _("A provider has at most %(max)s groups here.") % {"max": MAX_MAPPINGS},
            code="too_many_groups",
            numbers={"limit": MAX_MAPPINGS},
        )
    gone = {one.custom_role_id for one in dangling(provider)}
    for one in mappings:
        check_mapping(one)
        if one.gone and one.gone not in gone:
            raise _means_nothing()
    before = [_words(one) for one in provider.mappings.all()]
    provider.mappings.all().delete()
    made = GroupMapping.objects.bulk_create(
        GroupMapping(
            provider=provider,
            position=position,
            group=one.group,
            tenant=one.tenant,
            role=one.role,
            custom_role_id=one.custom_role.pk if one.custom_role else one.gone or None,
            staff_role=one.staff_role,
        )
        for position, one in enumerate(mappings)
    )
    audit.note(provider, before={"groups": before}, after={"groups": [_words(one) for one in made]})


def _words(one: GroupMapping) -> str:
    role = one.staff_role or one.custom_role_id or one.role
    return f"{one.group}: {one.tenant_id or 'staff'} {role}"


@action("platform.save_identity_provider")
def delete_identity_provider(*, actor: Actor, provider: IdentityProvider) -> None:
    """Delete a provider that nobody is linked to. Raises Conflict (``provider_in_use``)."""
    IdentityProvider.objects.select_for_update().get(pk=provider.pk)
    linked = Identity.objects.filter(provider=provider).count()
    if linked:
        raise Conflict(
            _("%(count)s users are linked to %(provider)s.")
            % {"count": linked, "provider": provider.label},
            code="provider_in_use",
            remedy=_("Turn it off instead."),
            numbers={"users": linked},
        )
    audit.note(provider, before={name: getattr(provider, name) for name in _LOGGED})
    provider.delete()


@action("platform.test_identity_provider")
def test_identity_provider(*, actor: Actor, provider: IdentityProvider) -> Job:
    """Read a provider's addresses and keys again."""
    audit.note(provider)
    return _enqueue(actor, provider)


def _enqueue(actor: Actor, provider: IdentityProvider) -> Job:
    return jobs.enqueue(
        kind=TEST,
        tenant=None,
        title=_("Read the identity provider %(name)s") % {"name": provider.label},
        target_kind=IdentityProvider.KIND,
        target_id=provider.pk,
        deadline_s=_DEADLINE_S,
        actor=actor,
        # Two at the same time read the same.
        exclusive=False,
    )


# --- reading it


class TestProvider(Handler):
    """``identity_provider.test``: reads a provider and keeps what it says."""

    # What the administrator reads at the provider is the error, at once.
    max_attempts = 1

    def steps(self, job: Job) -> Sequence[Step]:
        return [Step("read", _("Read the provider"), _read)]

    def on_failure(self, context: Context, error: ScloudError) -> None:
        """Say it at the provider; what was read before goes on to be used."""
        IdentityProvider.objects.filter(pk=context.job.target_id).update(
            tested_at=timezone.now(), test_error=error.for_operators()[:300]
        )


def register_handlers() -> None:
    """Called once, when the app is ready."""
    register(TEST, TestProvider())


def _read(context: Context) -> None:
    provider = IdentityProvider.objects.filter(pk=context.job.target_id).first()
    if provider is None:
        return
    began = timezone.now()
    endpoints = oidc.discover(provider.issuer)
    found = oidc.read_keys(provider.issuer, endpoints)
    if not found:
        raise InvalidInput(_("The provider publishes no key."), code="provider_invalid")
    context.guard()
    # Of the issuer that was read; who has changed it meanwhile has queued another job.
    IdentityProvider.objects.filter(pk=provider.pk, issuer=provider.issuer).update(
        endpoints=endpoints.as_dict(),
        public_keys=found,
        keys_read_at=began,
        tested_at=timezone.now(),
        test_error="",
    )


def client_of(provider: IdentityProvider) -> oidc.Client:
    """Return what the provider knows the platform by, with the secret."""
    secret = provider.sealed_secret
    return oidc.Client(
        issuer=provider.issuer,
        client_id=provider.client_id,
        secret=keys.box().decrypt(secret.encode()).decode() if secret else "",
        scopes=provider.scopes,
    )


def claims_of(provider: IdentityProvider, tokens: oidc.Tokens, *, nonce: str) -> dict[str, Any]:
    """Return what a token says, and read the keys again where they are old or one is unknown.

    Outside of any transaction: it asks the provider. Raises what :mod:`scloud.lib.oidc` raises.
    """
    client = client_of(provider)
    if provider.keys_read_at is None or timezone.now() - provider.keys_read_at > KEYS_LIVE:
        _read_keys(provider)
    for _try in range(2):
        try:
            return oidc.claims_of(tokens, client, provider.public_keys, nonce=nonce)
        except oidc.UnknownKey:
            read_at = provider.keys_read_at
            if read_at is not None and timezone.now() - read_at < _KEYS_AGAIN:
                break
            _read_keys(provider)
    raise InvalidInput(
        _("The answer of the provider is not valid."),
        code="token_invalid",
        remedy=_("Try again. If it happens again, tell the administrator of your platform."),
        detail="key unknown",
    )


def _read_keys(provider: IdentityProvider) -> None:
    began = timezone.now()
    endpoints = oidc.Endpoints.of(provider.endpoints)
    provider.public_keys = oidc.read_keys(provider.issuer, endpoints)
    provider.keys_read_at = began
    IdentityProvider.objects.filter(pk=provider.pk, issuer=provider.issuer).update(
        public_keys=provider.public_keys, keys_read_at=began
    )


def groups_of(provider: IdentityProvider, claims: dict[str, Any]) -> set[str]:
    """Return the groups that a token names."""
    said = claims.get(provider.groups_claim)
    if isinstance(said, str):
        return {said}
    return {one for one in said if isinstance(one, str)} if isinstance(said, list) else set()


def mapping_of(
    provider: IdentityProvider, groups: set[str], *, within: str | None, staff: bool
) -> Mapped | None:
    """Return what the first of the groups means that fits; None if none does.

    Nor if the first one means nothing any more, because its role was deleted or its tenant is not
    active: the next one may mean more. ``within`` is the id of the only tenant that counts;
    ``staff`` that roles of the staff alone do. With neither, for somebody new, all do.
    """
    rows = provider.mappings.select_related("tenant")
    with scopes_disabled():
        for row in rows:
            if row.group not in groups:
                continue
            if staff and row.tenant_id is not None:
                continue
            if within is not None and row.tenant_id != within:
                continue
            if row.tenant is not None and not row.tenant.is_active:
                return None
            own = None
            if row.custom_role_id is not None:
                # Looked for: its tenant may have deleted it.
                found = CustomRole.objects.filter(pk=row.custom_role_id, tenant=row.tenant).first()
                if not isinstance(found, CustomRole):
                    return None
                own = found
            return Mapped(row.group, row.tenant, row.role, own, row.staff_role)
    return None
