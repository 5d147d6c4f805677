"""How the log of a serial port is read through libvirt's storage: what is asked, and how much."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import libvirt
import pytest

from compute.hypervisor.base import Refused
from compute.hypervisor.libvirt import console, screen
from compute.hypervisor.libvirt.host import Host

PATH = "/var/log/libvirt/vm-1-console.log"
XML = f"""<domain><devices><serial type='pty'><log file='{PATH}' append='off'/></serial>
</devices></domain>"""


def _missing(code: int) -> libvirt.libvirtError:
    error = libvirt.libvirtError("there is none")
    error.err = (code, 0, "there is none", 0, "", "", "", 0, 0)
    return error


@dataclass
class Stream:
    content: bytes = b""
    ended: str = ""

    def recv(self, most: int) -> bytes:
        part, self.content = self.content[:most], self.content[most:]
        return part

    def finish(self) -> int:
        self.ended = "finished"
        return 0

    def abort(self) -> int:
        self.ended = "aborted"
        return 0


@dataclass
class Volume:
    """A file as the host has it; the size that it would have as a disk is what a guest wrote."""

    content: bytes

    def infoFlags(self, flags: int) -> list[int]:
        assert flags == libvirt.VIR_STORAGE_VOL_GET_PHYSICAL
        return [0, 2**60, len(self.content)]

    def download(self, stream: Stream, offset: int, length: int, flags: int) -> int:
        stream.content = self.content[offset : offset + length]
        return 0


@dataclass
class Pool:
    conn: Connection
    active: int = 1

    def isActive(self) -> int:
        return self.active

    def refresh(self, flags: int) -> int:
        self.conn.known.update(self.conn.files)
        return 0


@dataclass
class Connection:
    """A libvirt with files in its directory, of which its pools know those that they looked at."""

    files: dict[str, Volume] = field(default_factory=dict)
    known: dict[str, Volume] = field(default_factory=dict)
    pools: dict[str, Pool] = field(default_factory=dict)
    made: list[str] = field(default_factory=list)
    streams: list[Stream] = field(default_factory=list)
    races: bool = False

    def storageVolLookupByPath(self, path: str) -> Volume:
        if path not in self.known:
            raise _missing(libvirt.VIR_ERR_NO_STORAGE_VOL)
        return self.known[path]

    def storagePoolLookupByTargetPath(self, path: str) -> Pool:
        if path not in self.pools:
            raise _missing(libvirt.VIR_ERR_NO_STORAGE_POOL)
        return self.pools[path]

    def storagePoolCreateXML(self, text: str, flags: int) -> Pool:
        self.made.append(text)
        self.pools["/var/log/libvirt"] = Pool(self)
        if self.races:
            raise _missing(libvirt.VIR_ERR_OPERATION_FAILED)
        return self.pools["/var/log/libvirt"]

    def newStream(self, flags: int) -> Stream:
        self.streams.append(Stream())
        return self.streams[-1]


@dataclass
class Domain:
    conn: Connection
    xml: str = XML
    picture: bytes = b""

    def connect(self) -> Connection:
        return self.conn

    def XMLDesc(self, flags: int = 0) -> str:
        return self.xml

    def screenshot(self, stream: Stream, number: int, flags: int) -> str:
        assert number == 0
        stream.content = self.picture
        return "image/png"


@dataclass
class HostOf:
    domain: Domain

    def with_domain(self, uuid: str, work: Callable[[Any], Any], **_bounds: Any) -> Any:
        return work(self.domain)


def read(conn: Connection, max_bytes: int = 1000, xml: str = XML) -> bytes:
    host = cast(Host, HostOf(Domain(conn, xml)))
    return console.log_of(host, "uuid", max_bytes=max_bytes)


def test_the_first_look_makes_a_pool_over_the_directory_and_later_ones_use_it() -> None:
    conn = Connection(files={PATH: Volume(b"boot\nlogin: ")})
    assert read(conn) == b"boot\nlogin: "
    assert len(conn.made) == 1
    assert "<path>/var/log/libvirt</path>" in conn.made[0]
    conn.files[PATH].content += b"root"
    assert read(conn) == b"boot\nlogin: root"
    assert len(conn.made) == 1
    assert [stream.ended for stream in conn.streams] == ["finished", "finished"]


def test_only_the_end_is_read_by_the_size_that_the_file_has() -> None:
    conn = Connection(files={PATH: Volume(b"x" * 5000 + b"the end")})
    assert read(conn, max_bytes=10) == b"xxxthe end"


def test_a_domain_that_wrote_nothing_yet_has_an_empty_log() -> None:
    assert read(Connection()) == b""


def test_of_two_that_make_the_pool_both_read() -> None:
    conn = Connection(files={PATH: Volume(b"boot")}, races=True)
    assert read(conn) == b"boot"


def test_a_pool_of_somebody_else_is_used_and_one_that_cannot_be_made_is_an_error() -> None:
    conn = Connection(files={PATH: Volume(b"boot")})
    conn.pools["/var/log/libvirt"] = Pool(conn)
    assert read(conn) == b"boot"
    assert conn.made == []


def test_a_domain_without_a_log_says_so() -> None:
    with pytest.raises(Refused):
        read(Connection(), xml="<domain><devices/></domain>")


def test_a_host_that_sends_too_much_is_not_listened_to() -> None:
    stream = Stream(b"x" * 100_000)
    with pytest.raises(Refused):
        console.drained(cast(libvirt.virStream, stream), 70_000)
    assert stream.ended == "aborted"


def test_a_picture_says_what_it_is_and_has_a_limit() -> None:
    host = cast(Host, HostOf(Domain(Connection(), picture=b"\x89PNG....")))
    shot = screen.screenshot(host, "uuid", max_bytes=8)
    assert (shot.mime_type, shot.content) == ("image/png", b"\x89PNG....")
    with pytest.raises(Refused):
        screen.screenshot(host, "uuid", max_bytes=7)
