"""Tenants, their users, API keys, and the platform's switches."""

import unicodedata
from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any, ClassVar, Final

from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.contrib.auth.models import PermissionsMixin
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models.functions import Lower
from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from scloud.lib.ids import new_id
from scloud.tenancy.permissions import CUSTOM, Role
from scloud.tenancy.scoping import TenantManager
from scloud.tenancy.staff import StaffRole


def tenant_id() -> str:
    return new_id("tenant")


def api_key_id() -> str:
    return new_id("key")


def role_id() -> str:
    return new_id("role")


def invitation_id() -> str:
    return new_id("invite")


def provider_id() -> str:
    return new_id("idp")


# What rows say: a role of the platform, or that they have one of the tenant's own.
ROLES: Final = (*Role.choices, (CUSTOM, _("Role of the tenant")))


class Tenant(models.Model):
    """A customer account with one or more users."""

    id = models.CharField(
        _("ID"), primary_key=True, max_length=20, default=tenant_id, editable=False
    )
    name = models.CharField(_("name"), max_length=80, unique=True)
    is_active = models.BooleanField(_("active"), default=True)
    second_factor_required = models.BooleanField(
        _("every user needs a second factor"),
        default=False,
        db_default=False,
        help_text=_("Users without one can only set it up after signing in. API keys go on."),
    )
    ask_above = models.DecimalField(
        _("confirm payments above"),
        max_digits=14,
        decimal_places=2,
        default=Decimal(1000),
        db_default=Decimal(1000),
        validators=[MinValueValidator(0)],
        help_text=_("Who pays more in the console has to enter the password again."),
    )
    created_at = models.DateTimeField(_("created"), auto_now_add=True)

    class Meta:
        verbose_name = _("tenant")
        verbose_name_plural = _("tenants")
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class CustomRole(models.Model):
    """A role that a tenant has made: a name and what it includes."""

    KIND: ClassVar[str] = "role"

    id = models.CharField(_("ID"), primary_key=True, max_length=20, default=role_id, editable=False)
    tenant = models.ForeignKey(Tenant, models.CASCADE, verbose_name=_("tenant"), related_name="+")
    name = models.CharField(_("name"), max_length=40)
    # Patterns like those of the platform's roles.
    permissions = models.JSONField(_("permissions"), default=list)
    created_at = models.DateTimeField(_("created"), auto_now_add=True)

    objects = TenantManager()

    class Meta:
        verbose_name = _("role")
        verbose_name_plural = _("roles")
        ordering = ["name"]
        constraints = [
            models.UniqueConstraint("tenant", Lower("name"), name="custom_role_name_once")
        ]

    def __str__(self) -> str:
        return self.name


def canonical_email(email: str) -> str:
    """Return the one spelling of an address that counts."""
    return unicodedata.normalize("NFC", email.strip()).lower()


class UserManager(BaseUserManager["User"]):
    """Users are found by e-mail, whatever its case."""

    def by_email(self, email: str) -> "User | None":
        """Return the user with an address.

        PostgreSQL compares upper-case forms, and the dotless i of Turkish has that of an i: what
        it finds is looked at again, so that nobody is found by somebody else's address.
        """
        wanted = canonical_email(email)
        users = self.select_related("tenant")
        exact = users.filter(email=wanted).first()
        if exact is not None:
            return exact
        alike = users.filter(email__iexact=wanted)
        return next((user for user in alike if canonical_email(user.email) == wanted), None)

    def get_by_natural_key(self, username: str | None) -> "User":
        user = self.by_email(username or "")
        if user is None:
            raise self.model.DoesNotExist
        return user

    def create_user(self, email: str, password: str | None = None, **fields: Any) -> "User":
        user = self.model(email=self.normalize_email(email).lower(), **fields)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def create_superuser(self, email: str, password: str | None = None, **fields: Any) -> "User":
        """Create a platform administrator: no tenant, sees Django admin."""
        fields.update(is_staff=True, is_superuser=True, tenant=None)
        return self.create_user(email, password, **fields)


class User(AbstractBaseUser, PermissionsMixin):
    """A person. Without a tenant it is a platform administrator."""

    email = models.EmailField(_("e-mail"), unique=True)
    full_name = models.CharField(_("full name"), max_length=80, blank=True)
    tenant = models.ForeignKey(
        Tenant,
        models.PROTECT,
        verbose_name=_("tenant"),
        null=True,
        blank=True,
        related_name="users",
    )
    role = models.CharField(_("role"), max_length=20, choices=ROLES, default=Role.OWNER)
    # Counts only where the role says so: a process that does not know of it may change the role.
    custom_role = models.ForeignKey(
        CustomRole,
        models.PROTECT,
        verbose_name=_("role of the tenant"),
        null=True,
        blank=True,
        editable=False,
        related_name="users",
    )
    is_active = models.BooleanField(_("active"), default=True)
    is_staff = models.BooleanField(_("staff of the platform"), default=False)
    # Of staff; without one an administrator, who is a superuser as well.
    staff_role = models.CharField(
        _("role of staff"),
        max_length=12,
        choices=StaffRole.choices,
        blank=True,
        default="",
        db_default="",
        help_text=_("Without a role: an administrator, who may do everything."),
    )
    language = models.CharField(_("language"), max_length=10, blank=True)
    time_zone = models.CharField(_("time zone"), max_length=40, default="Asia/Shanghai")
    theme = models.CharField(
        _("theme"),
        max_length=5,
        default="auto",
        choices=[("auto", "auto"), ("light", "light"), ("dark", "dark")],
    )
    # Kind of a list -> [{"name", "query"}], the names in their order; bounded where it is written.
    list_views = models.JSONField(
        _("saved views"),
        default=dict,
        db_default=models.Value({}, models.JSONField()),
        editable=False,
    )
    created_at = models.DateTimeField(_("created"), auto_now_add=True)

    objects: ClassVar[UserManager] = UserManager()

    USERNAME_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []

    class Meta:
        verbose_name = _("user")
        verbose_name_plural = _("users")
        ordering = ["email"]
        constraints = [
            # A console of an earlier release makes each member of the staff whom it saves an
            # administrator: it fails instead for those with a role.
            models.CheckConstraint(
                condition=models.Q(is_superuser=False) | models.Q(staff_role=""),
                name="user_role_is_no_administrator",
            ),
        ]

    def __str__(self) -> str:
        return self.email

    @property
    def custom_grants(self) -> Sequence[str]:
        """What the tenant's own role of the user includes; nothing where there is none."""
        role = self.custom_role
        # Who has moved to another tenant takes no role along.
        if self.role != CUSTOM or role is None or role.tenant_id != self.tenant_id:
            return ()
        return tuple(role.permissions)

    @property
    def role_name(self) -> str:
        """What people call the user's role."""
        return _role_name(self)


def _role_name(row: "User | Invitation") -> str:
    if row.role == CUSTOM:
        return row.custom_role.name if row.custom_role is not None else gettext("None")
    return str(row.get_role_display())


class SecondFactor(models.Model):
    """What a user needs beside the password: codes of an app (RFC 6238), or a recovery code."""

    user = models.OneToOneField(
        User,
        models.CASCADE,
        verbose_name=_("user"),
        primary_key=True,
        related_name="second_factor",
    )
    sealed_secret = models.BinaryField(_("secret"), editable=False)
    # The number of the interval whose code was used last; no code up to it is accepted again.
    last_step = models.BigIntegerField(_("last interval"), default=0, editable=False)
    turned_on_at = models.DateTimeField(_("turned on"), default=timezone.now)

    class Meta:
        verbose_name = _("second factor")
        verbose_name_plural = _("second factors")

    def __str__(self) -> str:
        return f"second factor of user {self.user_id}"


class RecoveryCode(models.Model):
    """A code that is accepted once instead of one of the app. Only a digest of it is kept."""

    factor = models.ForeignKey(
        SecondFactor,
        models.CASCADE,
        verbose_name=_("second factor"),
        related_name="recovery_codes",
    )
    digest = models.CharField(_("digest"), max_length=64, editable=False)
    used_at = models.DateTimeField(_("used"), null=True, blank=True)

    class Meta:
        verbose_name = _("recovery code")
        verbose_name_plural = _("recovery codes")
        constraints = [
            models.UniqueConstraint(fields=["factor", "digest"], name="recovery_code_once")
        ]

    def __str__(self) -> str:
        return f"recovery code of user {self.factor_id}"


class Invitation(models.Model):
    """An address that was invited to become a user. Only a digest of its code is kept."""

    KIND: ClassVar[str] = "invitation"

    id = models.CharField(
        _("ID"), primary_key=True, max_length=20, default=invitation_id, editable=False
    )
    tenant = models.ForeignKey(Tenant, models.CASCADE, verbose_name=_("tenant"), related_name="+")
    email = models.EmailField(_("e-mail"))
    role = models.CharField(_("role"), max_length=20, choices=ROLES)
    # As that of users.
    custom_role = models.ForeignKey(
        CustomRole,
        models.SET_NULL,
        verbose_name=_("role of the tenant"),
        null=True,
        blank=True,
        editable=False,
        related_name="invitations",
    )
    invited_by = models.ForeignKey(
        User, models.SET_NULL, verbose_name=_("invited by"), null=True, related_name="+"
    )
    # Empty until the mail is written, and again when nobody may use the invitation any more.
    digest = models.CharField(
        _("digest"), max_length=64, blank=True, db_default="", default="", editable=False
    )
    sent_at = models.DateTimeField(_("sent"), null=True, blank=True)
    expires_at = models.DateTimeField(_("expires"))
    accepted_at = models.DateTimeField(_("accepted"), null=True, blank=True)
    withdrawn_at = models.DateTimeField(_("withdrawn"), null=True, blank=True)
    created_at = models.DateTimeField(_("created"), auto_now_add=True)

    objects = TenantManager()

    class Meta:
        verbose_name = _("invitation")
        verbose_name_plural = _("invitations")
        ordering = ["-created_at"]
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "email"],
                condition=models.Q(accepted_at__isnull=True, withdrawn_at__isnull=True),
                name="invitation_open_once",
            ),
            models.UniqueConstraint(
                fields=["digest"], condition=~models.Q(digest=""), name="invitation_digest"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.email} ({self.tenant_id})"

    @property
    def name(self) -> str:
        """What dialogs and the operation log call it."""
        return self.email

    @property
    def role_name(self) -> str:
        """What people call the role that the user will have."""
        return _role_name(self)


class ApiKey(models.Model):
    """A named key of a user. Only a digest of the secret is kept."""

    id = models.CharField(
        _("ID"), primary_key=True, max_length=20, default=api_key_id, editable=False
    )
    tenant = models.ForeignKey(Tenant, models.CASCADE, verbose_name=_("tenant"), related_name="+")
    user = models.ForeignKey(User, models.CASCADE, verbose_name=_("user"), related_name="api_keys")
    name = models.CharField(_("name"), max_length=60)
    digest = models.CharField(_("digest"), max_length=64, unique=True, editable=False)
    # The fingerprint of the site's key that made the digest; empty when it is not known.
    digest_key = models.CharField(
        _("digest key"), max_length=16, blank=True, db_default="", editable=False
    )
    # From where it may be used, such as 192.0.2.0/24; an empty list means from everywhere.
    networks = models.JSONField(
        _("allowed networks"), default=list, db_default=models.Value([], models.JSONField())
    )
    # Patterns like those of roles; a key never allows more than its user's role does.
    scopes = models.JSONField(_("scopes"), default=list)
    expires_at = models.DateTimeField(_("expires"), null=True, blank=True)
    revoked_at = models.DateTimeField(_("revoked"), null=True, blank=True)
    last_used_at = models.DateTimeField(_("last used"), null=True, blank=True)
    last_used_ip = models.GenericIPAddressField(_("last used from"), null=True, blank=True)
    # When its user was told that it expires soon.
    expiry_told_at = models.DateTimeField(_("expiry told"), null=True, editable=False)
    created_at = models.DateTimeField(_("created"), auto_now_add=True)

    objects = TenantManager()

    class Meta:
        verbose_name = _("API key")
        verbose_name_plural = _("API keys")
        ordering = ["-created_at"]

    def __str__(self) -> str:
        return f"{self.name} ({self.id})"

    @property
    def is_usable(self) -> bool:
        """True while the key is neither revoked nor expired."""
        if self.revoked_at is not None:
            return False
        return self.expires_at is None or self.expires_at > timezone.now()


class UserSession(models.Model):
    """A signed-in browser, so that people can see and end theirs."""

    session_key = models.CharField(_("session"), max_length=40, primary_key=True)
    user = models.ForeignKey(User, models.CASCADE, verbose_name=_("user"), related_name="sessions")
    ip = models.GenericIPAddressField(_("IP address"), null=True)
    user_agent = models.CharField(_("browser"), max_length=300, blank=True)
    created_at = models.DateTimeField(_("created"), auto_now_add=True)
    last_seen_at = models.DateTimeField(_("last seen"), default=timezone.now)

    class Meta:
        verbose_name = _("session")
        verbose_name_plural = _("sessions")
        ordering = ["-last_seen_at"]

    def __str__(self) -> str:
        return f"{self.user} from {self.ip}"


class LoginAttempt(models.Model):
    """A password that was tried (see lockout.py). It counts as wrong until it is known better."""

    email = models.CharField(_("e-mail"), max_length=254, db_index=True)
    ip = models.GenericIPAddressField(_("IP address"), null=True)
    succeeded = models.BooleanField(_("succeeded"))
    at = models.DateTimeField(_("time"), default=timezone.now, db_index=True)
    # Whose password, whatever the spelling; from where: an address, a network or a known browser.
    account = models.CharField(_("account"), max_length=270, blank=True, db_default="")
    source = models.CharField(_("source"), max_length=80, blank=True, db_default="")
    known_browser = models.BooleanField(_("known browser"), db_default=False)

    class Meta:
        verbose_name = _("login attempt")
        verbose_name_plural = _("login attempts")
        indexes = [models.Index(fields=["account", "-at"], name="login_attempt_account_at")]

    def __str__(self) -> str:
        return f"{self.email} {'ok' if self.succeeded else 'failed'}"


class SignInWait(models.Model):
    """A source that was asked to wait, because strangers guess an account's password.

    Who has waited is let in for one attempt, whatever the others do meanwhile.
    """

    account = models.CharField(max_length=270)
    source = models.CharField(max_length=80)
    since = models.DateTimeField(default=timezone.now, db_index=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["account", "source"], name="sign_in_wait_once")
        ]

    def __str__(self) -> str:
        return f"{self.source} waits for {self.account}"


class RateCounter(models.Model):
    """How often a caller came in a window of time (see ratelimit.py)."""

    key = models.CharField(max_length=120)
    window_start = models.DateTimeField()
    count = models.PositiveIntegerField(default=0)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["key", "window_start"], name="rate_counter_window")
        ]

    def __str__(self) -> str:
        return f"{self.key}: {self.count}"


class PlatformSettings(models.Model):
    """The administrator's global switches; one row."""

    id = models.PositiveSmallIntegerField(_("ID"), primary_key=True, default=1, editable=False)
    auto_renew = models.BooleanField(_("auto-renew by default"), default=True)
    bin_retention_s = models.PositiveIntegerField(
        _("recycle bin retention (s)"),
        default=360_000,
        validators=[MinValueValidator(1), MaxValueValidator(360_000)],
    )
    auto_destroy = models.BooleanField(_("destroy automatically after the retention"), default=True)
    quota_enabled = models.BooleanField(_("enforce quotas"), default=True)
    snapshots_per_disk = models.PositiveIntegerField(
        _("snapshots per disk"), default=10, help_text=_("0 means unlimited.")
    )
    expired_grace_days = models.PositiveIntegerField(
        _("days from expiry to the recycle bin"), default=7
    )
    refund_unused = models.BooleanField(_("refund unused paid time on destroy"), default=True)
    refund_pro_rata = models.BooleanField(
        _("refund exactly pro rata"),
        default=False,
        db_default=False,
        help_text=_(
            "Off: the time used of a month or year that has begun is priced anew, by the hour or "
            "month. On: it costs its share of the month or year."
        ),
    )
    idle_logout_min = models.PositiveIntegerField(
        _("idle logout (min)"), default=15, validators=[MinValueValidator(1)]
    )
    session_lifetime_h = models.PositiveIntegerField(
        _("sessions end after (h)"),
        default=12,
        db_default=12,
        validators=[MinValueValidator(1)],
        help_text=_("Even while they are in use."),
    )
    api_key_days = models.PositiveIntegerField(
        _("API keys expire after (days)"),
        default=90,
        db_default=90,
        validators=[MinValueValidator(1), MaxValueValidator(3650)],
        help_text=_("The default. Another period can be chosen for each key."),
    )
    events_keep_days = models.PositiveIntegerField(
        _("events are kept for (days)"),
        default=365,
        db_default=365,
        validators=[MinValueValidator(1), MaxValueValidator(36_500)],
        help_text=_("The time lines of resources. Money and the operation log are kept."),
    )
    login_lockout = models.BooleanField(_("lock after 5 failed logins"), default=True)
    second_factor_required = models.BooleanField(
        _("administrators need a second factor"),
        default=False,
        db_default=False,
        help_text=_(
            "Administrators of the platform without one can only set it up after signing in. "
            "Tenants have a setting of their own."
        ),
    )

    class Meta:
        verbose_name = _("platform settings")
        verbose_name_plural = _("platform settings")
        constraints = [models.CheckConstraint(condition=models.Q(id=1), name="one_settings_row")]

    def __str__(self) -> str:
        return gettext("Platform settings")

    @classmethod
    def load(cls) -> "PlatformSettings":
        """Return the one row, or the defaults while it does not exist."""
        return cls.objects.filter(pk=1).first() or cls()

    @property
    def bin_retention(self) -> timedelta:
        """How long a deleted resource stays in the recycle bin."""
        return timedelta(seconds=self.bin_retention_s)


class IdentityProvider(models.Model):
    """A service of the operator, or of a tenant, that people sign in with (OpenID Connect)."""

    KIND: ClassVar[str] = "identity_provider"

    id = models.CharField(
        _("ID"), primary_key=True, max_length=20, default=provider_id, editable=False
    )
    label = models.CharField(
        _("label"), max_length=40, unique=True, help_text=_("What the button says.")
    )
    issuer = models.CharField(
        _("issuer"),
        max_length=400,
        unique=True,
        help_text=_("Exactly as the provider writes it, such as https://id.example.org/realm."),
    )
    client_id = models.CharField(_("client ID"), max_length=255)
    sealed_secret = models.TextField(_("client secret"), default="", editable=False)
    scopes = models.CharField(_("scopes"), max_length=200, default="openid email profile")
    groups_claim = models.CharField(
        _("claim with the groups"),
        max_length=100,
        default="groups",
        help_text=_("Of the ID token: a list of names."),
    )
    is_on = models.BooleanField(
        _("on"),
        default=False,
        help_text=_(
            "Turned off, it signs nobody in. Sessions that began before go on; unlinking "
            "identities ends them."
        ),
    )
    creates_users = models.BooleanField(
        _("creates users"),
        default=False,
        help_text=_("Who signs in for the first time becomes a user, by the groups below."),
    )
    # Domains of addresses, or "*" for any.
    domains = models.CharField(
        _("domains"),
        max_length=1000,
        blank=True,
        default="",
        help_text=_(
            "Of the addresses of users that it creates, separated by spaces, such as example.org. "
            "* stands for any: for a provider of which nobody can have addresses of others "
            "confirmed, so for none that a tenant runs."
        ),
    )
    # Values of amr or acr; none where the provider's word does not count.
    factor_values = models.CharField(
        _("values that count as second factor"),
        max_length=400,
        blank=True,
        default="",
        help_text=_(
            "Of amr or acr in the ID token, separated by spaces, such as mfa. Empty: the platform "
            "asks for its own second factor."
        ),
    )
    # Endpoints as scloud.lib.oidc keeps them; empty until the provider was read.
    endpoints = models.JSONField(_("endpoints"), default=dict, editable=False)
    # Public keys, as the provider publishes them, and since when they are known.
    public_keys = models.JSONField(_("public keys"), default=list, editable=False)
    keys_read_at = models.DateTimeField(_("keys read"), null=True, editable=False)
    tested_at = models.DateTimeField(_("tested"), null=True, editable=False)
    test_error = models.CharField(_("error"), max_length=300, default="", editable=False)
    created_at = models.DateTimeField(_("created"), auto_now_add=True)

    class Meta:
        verbose_name = _("identity provider")
        verbose_name_plural = _("identity providers")
        ordering = ["label"]

    def __str__(self) -> str:
        return self.label

    @property
    def name(self) -> str:
        """What the operation log calls it."""
        return self.label


class GroupMapping(models.Model):
    """What somebody of a group of a provider is: a user of a tenant, or staff of the platform."""

    provider = models.ForeignKey(
        IdentityProvider, models.CASCADE, verbose_name=_("provider"), related_name="mappings"
    )
    # The first one that fits counts.
    position = models.PositiveSmallIntegerField(_("position"), default=0)
    group = models.CharField(_("group"), max_length=255)
    tenant = models.ForeignKey(
        Tenant, models.CASCADE, verbose_name=_("tenant"), null=True, blank=True, related_name="+"
    )
    role = models.CharField(_("role"), max_length=20, choices=Role.choices, blank=True, default="")
    # Without a constraint in the database: a process that does not know this table deletes roles.
    # The row stays and names a role that is gone: without it the next group would count instead,
    # which may mean more.
    custom_role = models.ForeignKey(
        CustomRole,
        models.DO_NOTHING,
        verbose_name=_("role of the tenant"),
        null=True,
        blank=True,
        db_constraint=False,
        related_name="+",
    )
    staff_role = models.CharField(
        _("role of staff"), max_length=12, choices=StaffRole.choices, blank=True, default=""
    )

    class Meta:
        verbose_name = _("group of a provider")
        verbose_name_plural = _("groups of providers")
        ordering = ["position", "pk"]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(tenant__isnull=False, staff_role="")
                | models.Q(tenant__isnull=True, role="", custom_role__isnull=True)
                & ~models.Q(staff_role=""),
                name="group_of_tenant_or_staff",
            )
        ]

    def __str__(self) -> str:
        return self.group


class Identity(models.Model):
    """Whom a provider knows as whom. The address says nothing: it may change hands."""

    provider = models.ForeignKey(
        IdentityProvider, models.PROTECT, verbose_name=_("provider"), related_name="identities"
    )
    # Of the issuer that was asked, which a provider's row may name no more.
    issuer = models.CharField(_("issuer"), max_length=400)
    subject = models.CharField(_("subject"), max_length=255)
    user = models.ForeignKey(
        User, models.CASCADE, verbose_name=_("user"), related_name="identities"
    )
    linked_at = models.DateTimeField(_("linked"), default=timezone.now)
    last_used_at = models.DateTimeField(_("last used"), null=True, blank=True)

    class Meta:
        verbose_name = _("linked identity")
        verbose_name_plural = _("linked identities")
        ordering = ["-linked_at"]
        constraints = [
            models.UniqueConstraint(fields=["issuer", "subject"], name="identity_once"),
            models.UniqueConstraint(fields=["user", "provider"], name="identity_of_user_once"),
        ]

    def __str__(self) -> str:
        return f"{self.user} ({self.provider})"


class UsedAnswer(models.Model):
    """A question to a provider that was answered: no answer is accepted twice."""

    digest = models.CharField(max_length=64, primary_key=True)
    at = models.DateTimeField(default=timezone.now, db_index=True)

    def __str__(self) -> str:
        return self.digest
