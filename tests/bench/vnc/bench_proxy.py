"""The VNC proxy against websockify: CPU per GiB, and memory under a client that stops reading.

Both proxies get the same bytes from the same source in turns within one run, so that whatever else
the machine does hits both. Usage: ``python tests/bench/vnc/bench_proxy.py [--mib N] [--rounds N]``.
Prints a table for people and one line of JSON.
"""

import argparse
import base64
import json
import multiprocessing
import os
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT))

from compute.vnc import rfb  # noqa: E402 (the path above)

PASSWORD = "benchpwd"
BLOCK = os.urandom(64 * 1024)
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
PAGE_KIB = os.sysconf("SC_PAGE_SIZE") // 1024
STALL_S = 4.0


def serve_source(listener: socket.socket, total_bytes: int) -> None:
    """Play a screen: the security handshake of QEMU, ClientInit, then a flood."""
    while True:
        peer, _ = listener.accept()
        try:
            peer.sendall(rfb.VERSION)
            _exactly(peer, 12)
            peer.sendall(bytes([1, rfb.SECURITY_VNC]))
            _exactly(peer, 1)
            challenge = os.urandom(16)
            peer.sendall(challenge)
            if _exactly(peer, 16) != rfb.answer_challenge(PASSWORD, challenge):
                continue
            peer.sendall(bytes(4))
            _exactly(peer, 1)
            sent = 0
            while sent < total_bytes:
                peer.sendall(BLOCK)
                sent += len(BLOCK)
            peer.recv(1)
        except OSError:
            pass
        finally:
            peer.close()


def serve_proxy(sock: socket.socket, source_port: int) -> None:
    """Run the proxy as in production, with everybody let in."""
    from compute.vnc.proxy import Ending, Session, VncProxy
    from compute.vnc.screen import Endpoint, ScreenOpener
    from compute.vnc.server import run

    class Everybody:
        async def admit(self, scope: dict[str, Any]) -> Session:
            return Session(vm_id="vm", grant=None)

        async def check(self, session: Session, *, input_seen: bool) -> Ending | None:
            return None

        async def opened(self, session: Session) -> None:
            pass

        async def closed(self, session: Session, ending: Ending) -> None:
            pass

    async def prepare(vm_id: str) -> Endpoint:
        return Endpoint(address="127.0.0.1", port=source_port, password=PASSWORD)

    proxy = VncProxy(Everybody(), ScreenOpener(prepare))

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            for phase in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{phase}.complete"})
            return
        await proxy(scope, receive, send)

    run(app, sock)


class WebSocketClient:
    """Just enough of a websocket client to count bytes cheaply."""

    def __init__(self, port: int) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=60)
        key = base64.b64encode(os.urandom(16)).decode()
        self.sock.sendall(
            f"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        head = b""
        while b"\r\n\r\n" not in head:
            head += self.sock.recv(1)
        if b" 101 " not in head.split(b"\r\n")[0]:
            raise RuntimeError(head.decode())
        self._payload = b""

    def write(self, data: bytes) -> None:
        """Send one masked binary message (the mask is zero: it is a benchmark)."""
        self.sock.sendall(bytes([0x82, 0x80 | len(data)]) + bytes(4) + data)

    def _frame_length(self) -> int:
        length = _exactly(self.sock, 2)[1]
        if length == 126:
            length = int.from_bytes(_exactly(self.sock, 2), "big")
        elif length == 127:
            length = int.from_bytes(_exactly(self.sock, 8), "big")
        return length

    def read(self, n: int) -> bytes:
        """Read exactly ``n`` bytes of payload."""
        while len(self._payload) < n:
            self._payload += _exactly(self.sock, self._frame_length())
        out, self._payload = self._payload[:n], self._payload[n:]
        return out

    def handshake(self, *, with_password: bool) -> None:
        """Go through RFB up to ClientInit."""
        self.read(12)
        self.write(rfb.VERSION)
        types = self.read(self.read(1)[0])
        self.write(types[:1])
        if with_password:
            self.write(rfb.answer_challenge(PASSWORD, self.read(16)))
        if self.read(4) != bytes(4):
            raise RuntimeError("refused")
        self.write(b"\1")

    def drain(self, total_bytes: int) -> None:
        """Read and forget that many bytes of payload."""
        left = total_bytes - len(self._payload)
        self._payload = b""
        buffer = bytearray(1024 * 1024)
        while left > 0:
            length = self._frame_length()
            left -= length
            while length > 0:
                got = self.sock.recv_into(buffer, min(length, len(buffer)))
                if not got:
                    raise RuntimeError("the proxy closed early")
                length -= got


def _exactly(sock: socket.socket, n: int) -> bytes:
    out = b""
    while len(out) < n:
        data = sock.recv(n - len(out))
        if not data:
            raise ConnectionError("closed")
        out += data
    return out


def family(pid: int) -> list[int]:
    """The process and its children: websockify forks for each connection."""
    out = [pid]
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        out += family(int(child))
    return out


def cpu_s(pid: int) -> float:
    """Processor time of the family so far."""
    total = 0.0
    for member in family(pid):
        fields = Path(f"/proc/{member}/stat").read_text().rpartition(")")[2].split()
        total += (int(fields[11]) + int(fields[12])) / TICKS_PER_S
    return total


def rss_kib(pid: int) -> int:
    """Resident memory of the family."""
    return sum(
        int(Path(f"/proc/{member}/statm").read_text().split()[1]) * PAGE_KIB
        for member in family(pid)
    )


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def wait_port(port: int) -> None:
    """Return when something listens there."""
    for _ in range(200):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError(f"nothing listens on {port}")


def measure_cpu(port: int, pid: int, total_bytes: int, *, with_password: bool) -> float:
    """CPU seconds per GiB for one flood."""
    client = WebSocketClient(port)
    client.handshake(with_password=with_password)
    before = cpu_s(pid)
    client.drain(total_bytes)
    used = cpu_s(pid) - before
    client.sock.close()
    return used / (total_bytes / 2**30)


def measure_growth(port: int, pid: int, *, with_password: bool) -> float:
    """MB that the proxy grows by while its client reads nothing."""
    client = WebSocketClient(port)
    client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
    client.handshake(with_password=with_password)
    before = rss_kib(pid)
    peak = before
    until = time.monotonic() + STALL_S
    while time.monotonic() < until:
        time.sleep(0.1)
        peak = max(peak, rss_kib(pid))
    client.sock.close()
    return (peak - before) / 1000


def main() -> int:
    """Run the comparison; the exit code says whether the goals were met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mib", type=int, default=512, help="size of one flood")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--serve", type=int, nargs=2, metavar=("FD", "SOURCE"))
    arguments = parser.parse_args()
    if arguments.serve:
        fd, source_port = arguments.serve
        serve_proxy(socket.socket(fileno=fd), source_port)
        return 0

    from compute.vnc.server import MALLOC_ENVIRONMENT, listening_socket

    total_bytes = arguments.mib * 2**20
    listener = socket.create_server(("127.0.0.1", 0))
    source_port = listener.getsockname()[1]
    source = multiprocessing.get_context("fork").Process(
        target=serve_source, args=(listener, total_bytes), daemon=True
    )
    source.start()
    sock = listening_socket("127.0.0.1", 0)
    port = sock.getsockname()[1]
    ours = subprocess.Popen(
        [sys.executable, __file__, "--serve", str(sock.fileno()), str(source_port)],
        env={**os.environ, **MALLOC_ENVIRONMENT},
        pass_fds=[sock.fileno()],
    )
    their_port = free_port()
    theirs = subprocess.Popen(
        [sys.executable, "-m", "websockify", f"127.0.0.1:{their_port}", f"127.0.0.1:{source_port}"],
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_port(port)
        wait_port(their_port)
        # First, on fresh processes: a flood leaves memory behind that would hide the growth.
        our_growth = measure_growth(port, ours.pid, with_password=False)
        their_growth = measure_growth(their_port, theirs.pid, with_password=True)
        our_cpu: list[float] = []
        their_cpu: list[float] = []
        for _ in range(arguments.rounds):
            their_cpu.append(measure_cpu(their_port, theirs.pid, total_bytes, with_password=True))
            our_cpu.append(measure_cpu(port, ours.pid, total_bytes, with_password=False))
    finally:
        for process in (ours, theirs):
            process.terminate()
            process.wait()
        source.terminate()
    ratio = statistics.median(our_cpu) / statistics.median(their_cpu)
    result = {
        "bench": "vnc_proxy",
        "cpu_s_per_gib": round(statistics.median(our_cpu), 3),
        "websockify_cpu_s_per_gib": round(statistics.median(their_cpu), 3),
        "ratio": round(ratio, 3),
        "ratio_goal": 1.0,
        "stalled_growth_mb": round(our_growth, 2),
        "websockify_stalled_growth_mb": round(their_growth, 2),
        "stalled_growth_goal_mb": 4.0,
        "met": ratio <= 1.0 and our_growth <= 4.0,
    }
    print("| VNC proxy | this proxy | websockify | goal |")
    print("| --- | ---: | ---: | ---: |")
    print(
        f"| CPU per GiB (s) | {result['cpu_s_per_gib']} | {result['websockify_cpu_s_per_gib']} "
        f"| ratio {result['ratio']} <= 1.0 |"
    )
    print(
        f"| growth under a stalled client (MB) | {result['stalled_growth_mb']} "
        f"| {result['websockify_stalled_growth_mb']} | <= 4 |"
    )
    print(json.dumps(result))
    return 0 if result["met"] else 1


if __name__ == "__main__":
    sys.exit(main())
