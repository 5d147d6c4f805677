"""The lab's hosts past the product: what a script with libvirt and qemu-img would do by itself."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import uuid
import xml.etree.ElementTree as ET
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import libvirt

POLL_S = 0.010
_XML = libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE


@dataclass
class Domain:
    """A domain that was made directly, with the files that it uses."""

    name: str
    host: str
    disk: Path
    seed: Path
    xml: str
    image: str
    size_gib: int


class Hosts:
    """Connections to all hosts of a lab."""

    def __init__(self, facts: dict[str, Any]) -> None:
        # Else libvirt prints every look-up of a domain that is not there yet.
        libvirt.registerErrorHandler(lambda _context, _error: None, None)
        self.links: dict[str, Any] = {
            host["name"]: libvirt.open(host["uri"]) for host in facts["hosts"]
        }
        self.storage = Path(facts["storage"]["path"])

    def close(self) -> None:
        """Close the connections."""
        for link in self.links.values():
            link.close()

    def find(self, name: str) -> tuple[str, Any] | None:
        """Return the host that knows a domain, and the domain."""
        for host, link in self.links.items():
            try:
                return host, link.lookupByName(name)
            except libvirt.libvirtError as error:
                if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
                    raise
        return None

    def await_running(self, names: Iterable[str], timeout_s: float = 180) -> None:
        """Look every 10 ms until all the domains run: their state is *running*."""
        left = list(names)
        end = time.monotonic() + timeout_s
        while left:
            found = self.find(left[0])
            # Not isActive: that is true as soon as libvirt begins to start QEMU.
            if found is not None and found[1].state()[0] == libvirt.VIR_DOMAIN_RUNNING:
                left.pop(0)
                continue
            if time.monotonic() > end:
                raise TimeoutError(f"{left} did not run within {timeout_s:.0f} s")
            time.sleep(POLL_S)

    def emulation(self, name: str) -> str:
        """Tell how a domain runs: KVM or TCG."""
        found = self.find(name)
        assert found is not None
        return "KVM" if ET.fromstring(found[1].XMLDesc()).get("type") == "kvm" else "TCG"

    def twin(self, name: str) -> Domain:
        """Prepare a domain like an existing one: same XML but for what must be its own.

        On the same host, whose address for screens the XML names. Its disk is not made yet; its
        seed is copied now, as a script would have it at hand.
        """
        found = self.find(name)
        assert found is not None, f"no host knows {name}"
        tree = ET.fromstring(found[1].XMLDesc(_XML))
        own = uuid.uuid4()
        label = f"direct-{own.hex[:8]}"
        _text(tree, "name", label)
        _text(tree, "uuid", str(own))
        for number, mac in enumerate(tree.iterfind("./devices/interface/mac")):
            mac.set("address", f"52:56:{own.hex[:2]}:{own.hex[2:4]}:{own.hex[4:6]}:{number:02x}")
        for port in tree.iterfind("./devices/interface/virtualport/parameters"):
            port.set("interfaceid", str(uuid.uuid4()))
        paths: dict[str, Path] = {}
        for disk in tree.iterfind("./devices/disk"):
            target, source = disk.find("target"), disk.find("source")
            assert target is not None
            assert source is not None
            old = Path(source.get("file", ""))
            paths[target.get("dev", "")] = old
            source.set("file", str(old.with_name(f"{label}{old.suffix}")))
        volume = paths.pop("vda")
        (seed,) = paths.values()
        shutil.copyfile(seed, seed.with_name(f"{label}{seed.suffix}"))
        header = _qemu_img_info(volume)
        return Domain(
            name=label,
            host=found[0],
            disk=volume.with_name(f"{label}{volume.suffix}"),
            seed=seed.with_name(f"{label}{seed.suffix}"),
            xml=ET.tostring(tree, encoding="unicode"),
            image=header["backing-filename"],
            size_gib=header["virtual-size"] // 2**30,
        )

    def create(self, domain: Domain) -> None:
        """Make the disk, define and start: what the product does, without the product."""
        subprocess.run(
            ["qemu-img", "create", "-q", "-f", "qcow2", "-u", "-F", "qcow2", "-b", domain.image,
             str(domain.disk), f"{domain.size_gib}G"],
            check=True,
        )  # fmt: skip
        self.links[domain.host].defineXML(domain.xml).create()

    def remove(self, domain: Domain) -> None:
        """Take a domain and its files away."""
        found = self.find(domain.name)
        if found is not None:
            if found[1].isActive():
                found[1].destroy()
            found[1].undefine()
        domain.disk.unlink(missing_ok=True)
        domain.seed.unlink(missing_ok=True)


def _text(tree: ET.Element, tag: str, text: str) -> None:
    element = tree.find(tag)
    assert element is not None
    element.text = text


def _qemu_img_info(volume: Path) -> dict[str, Any]:
    done = subprocess.run(
        ["qemu-img", "info", "-U", "--output=json", str(volume)],
        check=True,
        capture_output=True,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found
