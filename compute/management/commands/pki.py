"""``manage.py pki``: certificates for hosts, workers, VNC gateways and the OVN centre."""

from argparse import ArgumentTypeError
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from scloud.pki import Holder, Kind, Pki, PkiError

# What a holder of each kind does with its files.
_NEXT = {
    Kind.HOST: "Copy the directory to the host, run install-certificates.sh DIRECTORY there, and"
    " remove the copy.",
    Kind.WORKER: "Copy the directory to the machine of the workers (SCLOUD_WORKER_CERTIFICATES).",
    Kind.GATEWAY: "Copy the directory to the machine of the VNC processes"
    " (SCLOUD_GATEWAY_CERTIFICATES).",
    Kind.CENTRE: "Copy the directory to the machine of the OVN databases.",
}
_DEFAULT_NAMES = {Kind.WORKER: "worker", Kind.GATEWAY: "gateway", Kind.CENTRE: "centre"}


def _days(text: str) -> timedelta:
    """Read a number of days."""
    try:
        days = int(text)
    except ValueError:
        days = 0
    if not 1 <= days <= 3650:
        raise ArgumentTypeError("a whole number of days, 1 to 3650")
    return timedelta(days=days)


class Command(BaseCommand):
    """Issues, lists, renews, revokes, is told what is installed; all of it is in SCLOUD_PKI_DIR."""

    help = (
        "Issue, list, renew and revoke the certificates between control plane and hosts, and say"
        " which are installed."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True)
        kinds = [kind.value for kind in Kind]

        issue = verbs.add_parser("issue", help="make keys and certificates for a holder")
        issue.add_argument("kind", choices=kinds)
        issue.add_argument("name", nargs="?", default="", help="a host's name needs to be given")
        issue.add_argument(
            "--address", action="append", default=[], help="IP address that it is reached by"
        )
        issue.add_argument(
            "--dns", action="append", default=[], help="name that it is reached by, repeatable"
        )
        issue.add_argument(
            "--system-id", default="", help="of the host's Open vSwitch; by default its name"
        )
        issue.add_argument("--days", type=_days, default=timedelta(days=365))

        verbs.add_parser("list", help="who has certificates, and until when")

        renew = verbs.add_parser("renew", help="issue anew what ends soon")
        renew.add_argument("kind", choices=kinds, nargs="?")
        renew.add_argument("name", nargs="?", default="")
        renew.add_argument(
            "--within", type=_days, default=timedelta(days=30), help="what ends in so many days"
        )
        renew.add_argument("--days", type=_days, default=timedelta(days=365))

        installed = verbs.add_parser(
            "installed", help="say that a holder has its present files: end warnings of former ones"
        )
        installed.add_argument("kind", choices=kinds)
        installed.add_argument("name", nargs="?", default="")

        revoke = verbs.add_parser("revoke", help="take back all certificates of a holder")
        revoke.add_argument("kind", choices=kinds)
        revoke.add_argument("name", nargs="?", default="")

    def handle(self, *args: Any, **options: Any) -> None:
        pki = Pki(settings.SCLOUD_PKI_DIR)
        verbs = {
            "issue": self.issue,
            "list": self.show,
            "renew": self.renew,
            "installed": self.installed,
            "revoke": self.revoke,
        }
        try:
            verbs[options["verb"]](pki, **options)
        except (PkiError, OSError) as error:
            raise CommandError(str(error)) from error

    def issue(self, pki: Pki, **options: Any) -> None:
        """Make keys and certificates, for one that has some already too."""
        kind, name = _named(options)
        holder = Holder(
            kind=kind,
            name=name,
            addresses=tuple(options["address"]),
            names=tuple(options["dns"]),
            system_id=options["system_id"],
        )
        place = pki.issue(holder, lifetime=options["days"])
        self._tell(kind, name, place)

    def _tell(self, kind: Kind, name: str, place: Path) -> None:
        """Where the files are, and what comes next."""
        self.stdout.write(
            f"{kind} {name}: {place}\n{_NEXT[kind]}\nThen: manage.py pki installed {kind} {name}"
        )

    def show(self, pki: Pki, **options: Any) -> None:
        """Tell about every certificate on the books, and what of it is used now."""
        now = datetime.now(UTC)
        problems: list[str] = []
        for name, ends_at in pki.ends(problems=problems):
            left = (ends_at - now).days
            self.stdout.write(f"{name:30} until {ends_at:%Y-%m-%d} ({left} days)")
        for name, ends_at in pki.former(problems=problems):
            left = (ends_at - now).days
            self.stdout.write(
                f"{name:30} until {ends_at:%Y-%m-%d} ({left} days) for a former certificate: "
                "install the present one"
            )
        if not pki.exists():
            self.stdout.write(f"Nothing was issued in {pki.root}.")
            return
        self.stdout.write("")
        for one in pki.issued(problems=problems):
            if one.revoked_at is not None:
                state = f"revoked {one.revoked_at:%Y-%m-%d}"
            elif one.ends_at <= now:
                state = "ended"
            else:
                state = "valid"
            self.stdout.write(
                f"{one.authority:9} {one.kind:8} {one.name:20} "
                f"until {one.ends_at:%Y-%m-%d}  {state:18} {one.serial:x}"
            )
        if problems:
            self.stdout.write("")
        for words in dict.fromkeys(problems):
            self.stdout.write(f"damaged: {words}")

    def renew(self, pki: Pki, **options: Any) -> None:
        """Issue anew: one holder whenever its certificates end, or all whose end is near.

        One that cannot be renewed keeps no other from it; CommandError at the end.
        """
        if options["kind"]:
            due = [_named(options)]
        else:
            due = [(one.kind, one.name) for one in pki.due(options["within"])]
        failed = []
        for kind, name in due:
            try:
                place = pki.renew(kind, name, lifetime=options["days"])
            except (PkiError, OSError) as error:
                failed.append(f"{kind} {name}: {error}")
            else:
                self._tell(kind, name, place)
        if failed:
            raise CommandError("\n".join(("Not renewed:", *failed)))
        if not due:
            self.stdout.write("Nothing ends soon.")

    def installed(self, pki: Pki, **options: Any) -> None:
        """Let the end of what a holder had before be of no interest."""
        kind, name = _named(options)
        found = pki.installed(kind, name)
        until = "" if found.ends_at is None else f" until {found.ends_at:%Y-%m-%d}"
        self.stdout.write(f"{kind} {name}: noted. What it has now is good{until}.")

    def revoke(self, pki: Pki, **options: Any) -> None:
        """Take back what a holder has and had."""
        kind, name = _named(options)
        count = pki.revoke(kind, name)
        self.stdout.write(
            f"{kind} {name}: {count} certificates revoked.\n"
            "Install the directories of all hosts, workers and gateways again: they hold the new "
            "revocation lists. OVSDB reads none: see docs/operations.md."
        )


def _named(options: dict[str, Any]) -> tuple[Kind, str]:
    kind = Kind(options["kind"])
    name = options["name"] or _DEFAULT_NAMES.get(kind, "")
    if not name:
        raise CommandError("A host has a name: manage.py pki issue host NAME --address ADDRESS")
    return kind, name
