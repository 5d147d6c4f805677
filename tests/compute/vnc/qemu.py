"""A real QEMU with a guest of 21 bytes: it echoes every key to the screen and the serial port."""

import json
import socket
import ssl
import subprocess
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from compute.vnc import rfb
from compute.vnc.screen import Endpoint

# 16-bit code at 7c00: wait for a key (int 16h), send it to COM1, show it (int 10h), again.
ECHO = bytes.fromhex("31c08ed8b400cd16baf803eeb40ebb0700cd10ebef")


class Qemu:
    """One QEMU process with a VNC server that asks for a password.

    With ``certificates``, a host's directory for VNC, it speaks TLS and asks for one as well.
    """

    def __init__(self, folder: Path, *, certificates: Path | None = None) -> None:
        self._folder = folder
        self._tls: ssl.SSLContext | None = None
        options = ""
        words: list[str] = []
        if certificates is not None:
            options = ",tls-creds=tls0"
            given = f"tls-creds-x509,id=tls0,endpoint=server,verify-peer=on,dir={certificates}"
            words = ["-object", given]
        self.serial = folder / "serial"
        self.passwords_set = 0
        disk = folder / "disk"
        disk.write_bytes(ECHO.ljust(510, b"\0") + b"\x55\xaa")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        if self.port < 5900:
            raise RuntimeError("QEMU counts displays from port 5900 on")
        self.process = subprocess.Popen(
            [
                "qemu-system-x86_64", "-nodefaults", "-accel", "tcg", "-m", "32", "-vga", "std",
                "-display", f"vnc=127.0.0.1:{self.port - 5900},password=on{options}", *words,
                "-qmp", f"unix:{folder / 'qmp'},server=on,wait=off",
                "-serial", f"file:{self.serial}",
                "-drive", f"file={disk},format=raw,if=ide",
            ]
        )  # fmt: skip
        self._wait_for(lambda: (folder / "qmp").exists())

    @staticmethod
    def _wait_for(condition: Any, timeout_s: float = 15) -> None:
        until = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > until:
                raise TimeoutError
            time.sleep(0.05)

    def command(self, name: str, **arguments: Any) -> None:
        """Run one QMP command."""
        with socket.socket(socket.AF_UNIX) as qmp:
            qmp.settimeout(10)
            qmp.connect(str(self._folder / "qmp"))
            stream = qmp.makefile("rw")
            stream.readline()
            for request in (
                {"execute": "qmp_capabilities"},
                {"execute": name, "arguments": arguments},
            ):
                stream.write(json.dumps(request) + "\n")
                stream.flush()
                while "event" in (answer := json.loads(stream.readline())):
                    pass
                if "error" in answer:
                    raise RuntimeError(answer["error"])

    def trust(self, context: ssl.SSLContext) -> None:
        """Open the screen with these certificates from now on, and not without."""
        self._tls = context

    async def prepare(self, vm_id: str) -> Endpoint:
        """Do what the driver of a host does."""
        password = rfb.new_password()
        self.passwords_set += 1
        valid_until = datetime.now(UTC) + timedelta(seconds=30)
        self.command("set_password", protocol="vnc", password=password)
        self.command("expire_password", protocol="vnc", time=str(int(valid_until.timestamp())))
        return Endpoint(
            address="127.0.0.1",
            port=self.port,
            password=password,
            tls=self._tls,
            plain_allowed=self._tls is None,
        )

    def typed(self) -> str:
        """What the guest got from its keyboard."""
        return self.serial.read_bytes().decode("latin-1") if self.serial.exists() else ""

    def wait_typed(self, text: str) -> None:
        """Wait until the guest got exactly this."""
        try:
            self._wait_for(lambda: self.typed() == text)
        except TimeoutError:
            raise AssertionError(f"the guest got {self.typed()!r}, not {text!r}") from None

    def stop(self) -> None:
        """Pull the plug."""
        self.process.terminate()
        self.process.wait(10)
