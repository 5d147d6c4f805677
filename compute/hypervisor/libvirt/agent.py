"""What is asked of the guest agent, always with a bound on the answer."""

import base64
import json
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import libvirt
import libvirt_qemu

from compute.hypervisor.base import (
    AgentUnavailable,
    CommandResult,
    GuestDisk,
    GuestFilesystem,
    GuestInterface,
    GuestSystem,
    HostUnreachable,
    HypervisorError,
    OperationTimeout,
)
from compute.hypervisor.libvirt.build import SEED_SERIAL
from compute.hypervisor.libvirt.host import Host, xml_of
from compute.hypervisor.libvirt.parse import target_of

T = TypeVar("T")

AGENT_TIMEOUT_S = 10
"""For the answer to a command; libvirt's own default is to wait for ever."""

SYNC_TIMEOUT_S = 5
"""libvirt gives the agent this long to show that it is alive before each command."""

SLACK_S = 5
_POLL_S = 0.05
_CHUNK = 32768


def with_agent(
    host: Host, uuid: str, function: Callable[[libvirt.virDomain], T], *, timeout_s: float = 0
) -> T:
    """Run `function` with a running domain whose agent answers are bounded."""

    def work(domain: libvirt.virDomain) -> T:
        domain.agentSetResponseTimeout(AGENT_TIMEOUT_S, 0)
        return function(domain)

    bound_s = (timeout_s or AGENT_TIMEOUT_S) + SYNC_TIMEOUT_S + SLACK_S
    try:
        return host.with_domain(uuid, work, timeout_s=bound_s, running=True, giving_up_breaks=False)
    except OperationTimeout as error:
        raise AgentUnavailable("The guest agent does not answer.") from error


def command(
    domain: libvirt.virDomain, name: str, *, timeout_s: int = AGENT_TIMEOUT_S, **arguments: Any
) -> Any:
    """One command to the agent; returns what it returned."""
    request: dict[str, Any] = {"execute": name}
    if arguments:
        request["arguments"] = {key.replace("_", "-"): arguments[key] for key in arguments}
    answer = libvirt_qemu.qemuAgentCommand(domain, json.dumps(request), timeout_s, 0)
    return json.loads(answer).get("return")


def ready(host: Host, uuid: str, *, timeout_s: float) -> bool:
    def work(domain: libvirt.virDomain) -> bool:
        channel = xml_of(domain).root.find("devices/channel/target[@name='org.qemu.guest_agent.0']")
        if channel is None or channel.get("state") != "connected":
            return False
        command(domain, "guest-ping", timeout_s=max(1, int(timeout_s)))
        return True

    try:
        return host.with_domain(
            uuid,
            work,
            timeout_s=timeout_s + SYNC_TIMEOUT_S + SLACK_S,
            running=True,
            giving_up_breaks=False,
        )
    except HypervisorError as error:
        if isinstance(error, HostUnreachable):
            raise
        return False


def set_password(host: Host, uuid: str, account: str, password: str, *, encrypted: bool) -> None:
    flags = libvirt.VIR_DOMAIN_PASSWORD_ENCRYPTED if encrypted else 0
    with_agent(host, uuid, lambda domain: domain.setUserPassword(account, password, flags))


def addresses(host: Host, uuid: str) -> tuple[GuestInterface, ...]:
    source = libvirt.VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_AGENT
    found = with_agent(host, uuid, lambda domain: domain.interfaceAddresses(source, 0))
    return tuple(
        GuestInterface(
            name=name,
            mac=facts.get("hwaddr") or "",
            addresses=tuple(
                f"{address['addr']}/{address['prefix']}" for address in facts.get("addrs") or ()
            ),
        )
        for name, facts in found.items()
    )


def filesystems(host: Host, uuid: str) -> tuple[GuestFilesystem, ...]:
    """Mounted file systems; disks are matched by libvirt through their PCI address."""

    def work(domain: libvirt.virDomain) -> tuple[GuestFilesystem, ...]:
        info = domain.guestInfo(libvirt.VIR_DOMAIN_GUEST_INFO_FILESYSTEM, 0)
        ids = {target_of(disk): disk.findtext("serial") or "" for disk in xml_of(domain).disks()}
        found = []
        for number in range(info.get("fs.count", 0)):
            prefix = f"fs.{number}."
            disk_ids = []
            for disk in range(info.get(f"{prefix}disk.count", 0)):
                target = info.get(f"{prefix}disk.{disk}.alias", "")
                serial = ids.get(target) or info.get(f"{prefix}disk.{disk}.serial", "")
                if serial:
                    disk_ids.append(serial)
            found.append(
                GuestFilesystem(
                    mount_point=info.get(f"{prefix}mountpoint", ""),
                    device=info.get(f"{prefix}name", ""),
                    fs_type=info.get(f"{prefix}fstype", ""),
                    total_bytes=info.get(f"{prefix}total-bytes"),
                    used_bytes=info.get(f"{prefix}used-bytes"),
                    disk_ids=tuple(disk_ids),
                )
            )
        return tuple(found)

    return with_agent(host, uuid, work)


def disks(host: Host, uuid: str) -> tuple[GuestDisk, ...]:
    """Whole disks as the guest names them; matched by libvirt through their PCI address."""

    def work(domain: libvirt.virDomain) -> tuple[GuestDisk, ...]:
        info = domain.guestInfo(libvirt.VIR_DOMAIN_GUEST_INFO_DISKS, 0)
        ids = {
            target_of(disk): disk.findtext("serial") or ""
            for disk in xml_of(domain).disks()
            if disk.findtext("serial") != SEED_SERIAL
        }
        found = []
        for number in range(info.get("disk.count", 0)):
            disk_id = ids.get(info.get(f"disk.{number}.alias", ""), "")
            device = info.get(f"disk.{number}.name", "")
            if disk_id and device and not info.get(f"disk.{number}.partition", False):
                found.append(GuestDisk(disk_id, device))
        return tuple(found)

    return with_agent(host, uuid, work)


def system(host: Host, uuid: str) -> GuestSystem:
    """The operating system; what an agent does not say is empty."""

    def work(domain: libvirt.virDomain) -> GuestSystem:
        wanted = libvirt.VIR_DOMAIN_GUEST_INFO_OS | libvirt.VIR_DOMAIN_GUEST_INFO_HOSTNAME
        info = domain.guestInfo(wanted, 0)

        def text(key: str) -> str:
            return str(info.get(key) or "")

        return GuestSystem(
            name=text("os.pretty-name") or text("os.name"),
            version=text("os.version"),
            kernel=text("os.kernel-release"),
            machine=text("os.machine"),
            hostname=text("hostname"),
        )

    return with_agent(host, uuid, work)


def freeze(host: Host, uuid: str) -> int:
    """Freeze all file systems; thaw again if the agent says that it failed."""

    def work(domain: libvirt.virDomain) -> int:
        try:
            return domain.fsFreeze(None, 0)
        except libvirt.libvirtError:
            if command(domain, "guest-fsfreeze-status") == "frozen":
                domain.fsThaw(None, 0)
            raise

    return with_agent(host, uuid, work)


def thaw(host: Host, uuid: str) -> None:
    def work(domain: libvirt.virDomain) -> None:
        if command(domain, "guest-fsfreeze-status") == "frozen":
            domain.fsThaw(None, 0)

    with_agent(host, uuid, work)


def run(
    host: Host, uuid: str, argv: Sequence[str], *, stdin: bytes, timeout_s: float
) -> CommandResult:
    """Run a program in the guest and wait for its end."""

    def work(domain: libvirt.virDomain) -> CommandResult:
        deadline = time.monotonic() + timeout_s
        arguments: dict[str, Any] = {
            "path": argv[0],
            "arg": list(argv[1:]),
            "capture_output": True,
        }
        if stdin:
            arguments["input_data"] = base64.b64encode(stdin).decode()
        pid = command(domain, "guest-exec", **arguments)["pid"]
        pause_s = _POLL_S
        while True:
            status = command(domain, "guest-exec-status", pid=pid)
            if status["exited"]:
                return CommandResult(
                    exit_code=status.get("exitcode"),
                    stdout=base64.b64decode(status.get("out-data", "")),
                    stderr=base64.b64decode(status.get("err-data", "")),
                )
            if time.monotonic() > deadline:
                raise GuestCommandTimeout(f"The command did not end within {timeout_s:g} seconds.")
            time.sleep(pause_s)
            pause_s = min(pause_s * 2, 0.5)

    try:
        return with_agent(host, uuid, work, timeout_s=timeout_s)
    except GuestCommandTimeout as error:
        raise OperationTimeout(error.message) from error


class GuestCommandTimeout(HypervisorError):
    """Told apart from an agent that does not answer; never leaves this module."""


def read_file(host: Host, uuid: str, path: str, *, max_bytes: int) -> bytes:
    def work(domain: libvirt.virDomain) -> bytes:
        handle = command(domain, "guest-file-open", path=path, mode="r")
        content = b""
        try:
            while len(content) < max_bytes:
                count = min(_CHUNK, max_bytes - len(content))
                part = command(domain, "guest-file-read", handle=handle, count=count)
                content += base64.b64decode(part["buf-b64"])
                if part["eof"] or not part["count"]:
                    break
        finally:
            command(domain, "guest-file-close", handle=handle)
        return content

    return with_agent(host, uuid, work)
