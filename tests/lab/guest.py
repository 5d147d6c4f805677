"""A guest made with nothing but virsh, to see what the lab can do without the product."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

from scloud.lab import images
from scloud.lab.plan import HostPlan, Lab, LabError
from scloud.lab.shell import run, succeeds, wait_for

DOMAIN = """
<domain type='qemu'>
  <name>{name}</name><uuid>{uuid}</uuid>
  <memory unit='MiB'>{memory_mib}</memory>
  <vcpu current='1'>2</vcpu>
  <os><type arch='x86_64' machine='q35'>hvm</type></os>
  <features><acpi/><apic/></features>
  <cpu mode='custom'><model>qemu64</model></cpu>
  <devices>
    <controller type='usb' model='none'/>
    <disk type='file' device='disk'><driver name='qemu' type='qcow2'/>
      <source file='{directory}/root.qcow2'/><target dev='vda' bus='virtio'/></disk>
    {more_disks}
    <disk type='file' device='disk'><driver name='qemu' type='raw'/>
      <source file='{directory}/seed.iso'/><target dev='vdz' bus='virtio'/><readonly/></disk>
    {interfaces}
    <channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>
    <serial type='file'><source path='{directory}/serial.log'/></serial>
    <graphics type='vnc' autoport='yes'/>
    <video><model type='vga'/></video>
  </devices>
</domain>
"""

INTERFACE = """
    <interface type='bridge'><mac address='{mac}'/><source bridge='br-int'/>
      <virtualport type='openvswitch'><parameters interfaceid='{port}'/></virtualport>
      <model type='virtio'/><rom enabled='no'/><driver name='qemu'>
        <host csum='off' gso='off' tso4='off' tso6='off' ecn='off' ufo='off' mrg_rxbuf='off'/>
        <guest csum='off' tso4='off' tso6='off' ecn='off' ufo='off'/></driver>
    </interface>
"""


@dataclass
class Guest:
    """One domain on a host of the lab."""

    lab: Lab
    host: HostPlan
    name: str
    number: int
    image: str = "mini"
    memory_mib: int = 256
    size_gib: int = 1
    data_disk_gib: int = 0
    ports: list[tuple[str, str]] = field(default_factory=list)  # logical port, MAC

    @property
    def directory(self) -> Path:
        return self.lab.storage / self.name

    @property
    def uuid(self) -> str:
        return f"5c10d000-0000-4000-9000-{self.number:012d}"

    def virsh(self, *words: str, timeout_s: float = 60, check: bool = True) -> str:
        return run("virsh", "-q", "-c", self.host.uri, *words, timeout_s=timeout_s, check=check)

    def write_seed(self, meta_data: str, user_data: str, network_config: str) -> None:
        """Put a NoCloud seed beside the disk."""
        source = self.directory / "seed"
        source.mkdir(parents=True, exist_ok=True)
        (source / "meta-data").write_text(meta_data)
        (source / "user-data").write_text(user_data)
        (source / "network-config").write_text(network_config)
        run("genisoimage", "-quiet", "-V", "cidata", "-r", "-J", "-o",
            self.directory / "seed.iso", source)  # fmt: skip

    def create(self) -> None:
        """Disk, domain, start."""
        self.directory.mkdir(parents=True, exist_ok=True)
        run("qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2",
            "-b", images.ensure(self.image), self.directory / "root.qcow2",
            f"{self.size_gib}G")  # fmt: skip
        more = ""
        if self.data_disk_gib:
            data = self.directory / "data.qcow2"
            run("qemu-img", "create", "-q", "-f", "qcow2", data, f"{self.data_disk_gib}G")
            more = (
                "<disk type='file' device='disk'><driver name='qemu' type='qcow2'/>"
                f"<source file='{data}'/><target dev='vdb' bus='virtio'/></disk>"
            )
        xml = DOMAIN.format(
            name=self.name,
            uuid=self.uuid,
            memory_mib=self.memory_mib,
            directory=self.directory,
            more_disks=more,
            interfaces="".join(INTERFACE.format(port=port, mac=mac) for port, mac in self.ports),
        )
        (self.directory / "domain.xml").write_text(xml)
        self.virsh("define", str(self.directory / "domain.xml"))
        self.virsh("start", self.name)

    def destroy(self) -> None:
        """Remove the domain; one that is not there is fine."""
        self.virsh("destroy", self.name, check=False)
        self.virsh("undefine", self.name, check=False)

    def remove(self) -> None:
        """Remove the domain and its files; what is not there is fine."""
        self.destroy()
        shutil.rmtree(self.directory, ignore_errors=True)

    def agent(self, command: str, **arguments: object) -> object:
        """One command of the guest agent; LabError when the agent does not answer."""
        words = json.dumps({"execute": command, "arguments": arguments})
        return json.loads(self.virsh("qemu-agent-command", self.name, words))["return"]

    def wait_for_agent(self, *, timeout_s: float) -> float:
        """Wait for the agent; returns the seconds that took."""
        started = time.monotonic()
        wait_for(
            f"agent of {self.name}",
            lambda: succeeds(
                "virsh", "-q", "-c", self.host.uri, "qemu-agent-command", "--timeout", "2",
                self.name, '{"execute":"guest-ping"}',
            ),
            timeout_s=timeout_s,
            every_s=0.3,
        )  # fmt: skip
        return time.monotonic() - started

    def execute(self, script: str, *, timeout_s: float = 60) -> str:
        """Run a shell script in the guest through the agent; its output, LabError if it fails."""
        started = self.agent(
            "guest-exec", path="/bin/sh", arg=["-c", script], **{"capture-output": True}
        )
        assert isinstance(started, dict)
        result: dict[str, object] = {}

        def ended() -> bool:
            nonlocal result
            answer = self.agent("guest-exec-status", pid=started["pid"])
            assert isinstance(answer, dict)
            result = answer
            return bool(answer["exited"])

        wait_for(f"end of {script!r} in {self.name}", ended, timeout_s=timeout_s, every_s=0.2)
        output = base64.b64decode(str(result.get("out-data", ""))).decode(errors="replace")
        errors = base64.b64decode(str(result.get("err-data", ""))).decode(errors="replace")
        if result["exitcode"] != 0:
            raise LabError(f"{script!r} in {self.name}: {result['exitcode']} {output}{errors}")
        return output

    def processor_time_s(self) -> float:
        """Processor time that the guest has had since its start, its emulation included."""
        stats = self.virsh("domstats", "--cpu-total", self.name)
        return int(stats.partition("cpu.time=")[2].split()[0]) / 1e9

    def state(self) -> str:
        return self.virsh("domstate", self.name).strip()


def crypt_hash(password: str) -> str:
    """A SHA-512 crypt hash, as the product puts it into a seed."""
    return subprocess.run(
        ["openssl", "passwd", "-6", "-stdin"],
        input=password, capture_output=True, text=True, check=True, timeout=10,
    ).stdout.strip()  # fmt: skip
