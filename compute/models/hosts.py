"""What became of hosts, and what was seen of them."""

from django.db import models
from django.utils.translation import gettext_lazy as _

from compute.models.platform import Host
from compute.states.hosts import FindingLevel, HostState, Witness

LONGEST_REASON = 300


class HostTransition(models.Model):
    """One change of a host's state, with its reason."""

    # Of a host that was removed its name is left.
    host = models.ForeignKey(
        Host, models.SET_NULL, null=True, verbose_name=_("host"), related_name="transitions"
    )
    host_name = models.CharField(
        _("name of the removed host"), max_length=60, blank=True, default="", db_default=""
    )
    old = models.CharField(_("from"), max_length=20, choices=HostState.choices)
    new = models.CharField(_("to"), max_length=20, choices=HostState.choices)
    reason = models.CharField(_("reason"), max_length=LONGEST_REASON, blank=True)
    by = models.CharField(_("by"), max_length=320)
    at = models.DateTimeField(_("at"))

    class Meta:
        verbose_name = _("change of a host's state")
        verbose_name_plural = _("changes of hosts' states")
        ordering = ["-at", "-id"]
        indexes = [models.Index(fields=["host", "-at"], name="host_transition_host")]

    def __str__(self) -> str:
        host = self.host or self.host_name
        return f"{host}: {self.get_old_display()} → {self.get_new_display()}"


class HostSighting(models.Model):
    """What one observer knows of a host by one witness.

    An observer is a machine whose sweeper asks. ``watching_since`` is when it began to ask without
    a break: what it did not hear before that tells nothing.
    """

    host = models.ForeignKey(Host, models.CASCADE, verbose_name=_("host"), related_name="sightings")
    witness = models.CharField(_("witness"), max_length=10, choices=Witness.choices)
    observer = models.CharField(_("observer"), max_length=100)
    watching_since = models.DateTimeField(_("watching since"))
    asked_at = models.DateTimeField(_("last asked"))
    alive_at = models.DateTimeField(_("last answer"), null=True)

    class Meta:
        verbose_name = _("sighting of a host")
        verbose_name_plural = _("sightings of hosts")
        ordering = ["host", "witness", "observer"]
        constraints = [
            models.UniqueConstraint(
                fields=["host", "witness", "observer"], name="one_sighting_per_observer"
            )
        ]

    def __str__(self) -> str:
        return f"{self.host}: {self.get_witness_display()} ({self.observer})"


class HostTest(models.Model):
    """What the last connection test of a host found.

    A host that was added in the administration has ``required`` set and is not put into service
    before ``admitted_at``. The other columns are of the last test: what it asked (what
    is changed afterwards was not tested) and its findings, each with ``code``, ``level``, ``words``
    and ``remedy``.
    """

    host = models.OneToOneField(
        Host,
        models.CASCADE,
        primary_key=True,
        verbose_name=_("host"),
        related_name="connection_test",
    )
    required = models.BooleanField(default=False, db_default=False)
    admitted_at = models.DateTimeField(null=True)
    tested_at = models.DateTimeField(null=True)
    tested_uri = models.CharField(max_length=200, blank=True, default="", db_default="")
    tested_address = models.CharField(max_length=45, blank=True, default="", db_default="")
    tested_cluster = models.CharField(max_length=30, blank=True, default="", db_default="")
    findings = models.JSONField(default=list)

    def __str__(self) -> str:
        return f"connection test of {self.host_id}"

    @property
    def worst(self) -> FindingLevel:
        """The worst level of the findings."""
        levels = {one["level"] for one in self.findings}
        for level in (FindingLevel.ERROR, FindingLevel.WARNING):
            if level in levels:
                return level
        return FindingLevel.OK

    def is_of(self, host: Host) -> bool:
        """Whether the host is still reached as it was when it was tested."""
        return (self.tested_uri, self.tested_address, self.tested_cluster) == (
            host.uri,
            host.address,
            host.cluster_id,
        )
