"""A small Redfish service: the power of one system, over HTTPS with a user and a password.

What fence agents and people with curl need of DSP0266 (Redfish specification) 1.15, no more: the
service root, the collection of systems, one system with its power state, and its reset action.
"""

from __future__ import annotations

import base64
import hmac
import json
import ssl
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Protocol

from scloud.lab.shell import run

ROOT = "/redfish/v1"
SYSTEM = f"{ROOT}/Systems/1"
RESET = f"{SYSTEM}/Actions/ComputerSystem.Reset"
#: ResetType -> whether the system is on afterwards.
RESETS = {"On": True, "ForceOn": True, "ForceOff": False}
_LONGEST_BODY = 4096
_PATIENCE_S = 30.0


class Machine(Protocol):
    """What the service switches."""

    @property
    def name(self) -> str:
        """The system's name."""

    def power_state(self) -> str:
        """`On`, `Off`, `PoweringOn` or `PoweringOff`."""

    def switch(self, on: bool) -> None:
        """Begin to switch it on or off; returns at once."""


class Service(ThreadingHTTPServer):
    """The service of one machine on an address of its own; ``serve_forever`` runs it."""

    daemon_threads = True

    def __init__(
        self,
        address: tuple[str, int],
        machine: Machine,
        *,
        user: str,
        password: str,
        certificate: Path,
        key: Path,
    ) -> None:
        self.machine = machine
        self._credentials = base64.b64encode(f"{user}:{password}".encode()).decode()
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.load_cert_chain(certificate, key)
        super().__init__(address, _Handler)

    def get_request(self) -> tuple[Any, Any]:
        """Take a connection; its handshake is left to its own thread."""
        connection, peer = super().get_request()
        connection.settimeout(_PATIENCE_S)
        return (
            self._tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False),
            peer,
        )

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away or does not trust us is nothing to report."""

    def lets_in(self, header: str) -> bool:
        """Whether a header of HTTP Basic authentication names the user and the password."""
        scheme, _, given = header.partition(" ")
        return scheme.lower() == "basic" and hmac.compare_digest(
            given.strip().encode(), self._credentials.encode()
        )


class _Handler(BaseHTTPRequestHandler):
    server: Service
    protocol_version = "HTTP/1.1"
    timeout = _PATIENCE_S

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the base's name
        """Nothing: the process that keeps it says what it switches."""

    def do_GET(self) -> None:
        """Answer the service root to everybody, the rest to who may."""
        path = self.path.rstrip("/")
        if path == ROOT:
            return self._say(
                {
                    "@odata.id": ROOT,
                    "@odata.type": "#ServiceRoot.v1_5_0.ServiceRoot",
                    "Id": "RootService",
                    "Name": "Root Service",
                    "RedfishVersion": "1.15.0",
                    "Systems": {"@odata.id": f"{ROOT}/Systems"},
                }
            )
        if not self._may():
            return None
        if path == f"{ROOT}/Systems":
            return self._say(
                {
                    "@odata.id": path,
                    "@odata.type": "#ComputerSystemCollection.ComputerSystemCollection",
                    "Name": "Systems",
                    "Members@odata.count": 1,
                    "Members": [{"@odata.id": SYSTEM}],
                }
            )
        if path == SYSTEM:
            return self._say(
                {
                    "@odata.id": SYSTEM,
                    "@odata.type": "#ComputerSystem.v1_13_0.ComputerSystem",
                    "Id": "1",
                    "Name": self.server.machine.name,
                    "PowerState": self.server.machine.power_state(),
                    "Actions": {
                        "#ComputerSystem.Reset": {
                            "target": RESET,
                            "ResetType@Redfish.AllowableValues": list(RESETS),
                        }
                    },
                }
            )
        return self._refuse(HTTPStatus.NOT_FOUND, "Base.1.8.ResourceMissingAtURI")

    def do_POST(self) -> None:
        """Take a reset."""
        length = int(self.headers.get("Content-Length") or 0)
        if not 0 <= length <= _LONGEST_BODY:
            self.close_connection = True
            return self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "Base.1.8.GeneralError")
        body = self.rfile.read(length)
        if not self._may():
            return None
        if self.path.rstrip("/") != RESET:
            return self._refuse(HTTPStatus.NOT_FOUND, "Base.1.8.ResourceMissingAtURI")
        try:
            wanted = RESETS[json.loads(body)["ResetType"]]
        except (ValueError, KeyError, TypeError):
            return self._refuse(HTTPStatus.BAD_REQUEST, "Base.1.8.ActionParameterNotSupported")
        self.server.machine.switch(wanted)
        self.send_response(HTTPStatus.NO_CONTENT)
        self.end_headers()
        return None

    def _may(self) -> bool:
        if self.server.lets_in(self.headers.get("Authorization") or ""):
            return True
        self._refuse(HTTPStatus.UNAUTHORIZED, "Base.1.8.NoValidSession")
        return False

    def _refuse(self, status: HTTPStatus, message_id: str) -> None:
        self._say({"error": {"code": message_id, "message": status.description}}, status)

    def _say(self, content: dict[str, Any], status: HTTPStatus = HTTPStatus.OK) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("OData-Version", "4.0")
        if status is HTTPStatus.UNAUTHORIZED:
            self.send_header("WWW-Authenticate", 'Basic realm="Redfish"')
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def make_certificate(directory: Path, address: str) -> tuple[Path, Path]:
    """Certificate and key of a service, made once; the certificate is its own authority.

    LabError when openssl refuses.
    """
    certificate, key = directory / "certificate.pem", directory / "key.pem"
    if not certificate.exists():
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft = directory / "draft.pem"
        run(
            "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
            "-nodes", "-days", "3650", "-subj", f"/CN={address}",
            "-addext", f"subjectAltName=IP:{address}", "-keyout", key, "-out", draft,
        )  # fmt: skip
        draft.rename(certificate)
    return certificate, key
