"""A file system in user space over a directory, which hangs, fails or fills up when it is told to.

It stands for NFS whose server is ill. It speaks the kernel's FUSE protocol (include/uapi/linux/
fuse.h, version 7.31) by itself, as far as directory pools need it, and has to be mounted by root.
"""

from __future__ import annotations

import ctypes
import errno
import os
import select
import stat
import struct
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

_HEADER = struct.Struct("<IIQQIIII")
_ANSWER = struct.Struct("<IiQ")
_IO = struct.Struct("<QQII")
_IO_BYTES = 40
_SETATTR = struct.Struct("<IIQQQQQQIIIIIIII")
_SIZE, _MODE = 8, 1
_MAX_WRITE = 128 * 1024
_FORGETS = (2, 42, 36)
_INIT, _DESTROY = 26, 38
_libc = ctypes.CDLL("libc.so.6", use_errno=True)


class SickFileSystem:
    """``backing``, mounted at ``place``.

    Set ``hangs``, or an errno in ``fails`` (whatever is asked) or ``cannot_write``.
    """

    def __init__(self, backing: Path, place: Path) -> None:
        self.hangs = False
        self.fails = 0
        self.cannot_write = 0
        self._place = place
        self._paths: dict[int, Path] = {1: backing}
        self._numbers: dict[Path, int] = {backing: 1}
        self._waiting: list[bytes] = []
        self._device = os.open("/dev/fuse", os.O_RDWR)
        self._ended, self._end = os.pipe()
        options = f"fd={self._device},rootmode=40000,user_id=0,group_id=0,allow_other"
        if _libc.mount(b"sick", str(place).encode(), b"fuse", 0, options.encode()):
            raise OSError(ctypes.get_errno(), "mount")
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def heal(self) -> None:
        """Answer everything again, also what was asked meanwhile."""
        self.hangs, self.fails, self.cannot_write = False, 0, 0
        waiting, self._waiting = self._waiting, []
        for request in waiting:
            self._answer(request)

    def unmount(self) -> None:
        """Take it away; who still waits gets an error."""
        self.heal()
        _libc.umount2(str(self._place).encode(), 2)
        os.write(self._end, b"x")
        self._thread.join(10)
        for fd in (self._device, self._ended, self._end):
            os.close(fd)

    # -- requests ------------------------------------------------------------------------------

    def _serve(self) -> None:
        while True:
            readable, _, _ = select.select([self._device, self._ended], [], [])
            if self._ended in readable:
                return
            try:
                request = os.read(self._device, _MAX_WRITE + 4096)
            except OSError as error:
                if error.errno in (errno.ENODEV, errno.EBADF):
                    return
                continue
            if self.hangs:
                self._waiting.append(request)
            else:
                self._answer(request)

    def _answer(self, request: bytes) -> None:
        _length, opcode, unique, node, *_rest = _HEADER.unpack_from(request)
        if opcode in _FORGETS:
            return
        call: Callable[[int, bytes], bytes] | None = getattr(self, f"_op_{opcode}", None)
        code, said = 0, b""
        try:
            if call is None:
                raise OSError(errno.ENOSYS, "unknown")
            if self.fails and opcode not in (_INIT, _DESTROY):
                raise OSError(self.fails, "sick")
            said = call(node, request[_HEADER.size :])
        except OSError as error:
            code, said = -(error.errno or errno.EIO), b""
        try:
            os.write(self._device, _ANSWER.pack(_ANSWER.size + len(said), code, unique) + said)
        except OSError:
            return  # whoever asked is gone

    def _writes(self) -> None:
        if self.cannot_write:
            raise OSError(self.cannot_write, "sick")

    def _child(self, node: int, name: bytes) -> Path:
        return self._paths[node] / name.split(b"\0")[0].decode()

    def _entry(self, path: Path) -> bytes:
        facts = path.lstat()
        number = self._numbers.setdefault(path, len(self._paths) + 1)
        self._paths[number] = path
        # Nothing is kept by the kernel: each look is asked.
        return struct.pack("<QQQQII", number, 0, 0, 0, 0, 0) + self._attributes(number, facts)

    @staticmethod
    def _attributes(number: int, facts: os.stat_result) -> bytes:
        return struct.pack(
            "<6Q10I",
            number,
            facts.st_size,
            facts.st_blocks,
            int(facts.st_atime),
            int(facts.st_mtime),
            int(facts.st_ctime),
            0,
            0,
            0,
            facts.st_mode,
            facts.st_nlink,
            facts.st_uid,
            facts.st_gid,
            0,
            4096,
            0,
        )

    def _open(self, path: Path, flags: int, mode: int = 0) -> bytes:
        flags &= ~(os.O_APPEND | os.O_DIRECT | os.O_EXCL)
        if flags & os.O_ACCMODE == os.O_WRONLY:
            flags = flags & ~os.O_ACCMODE | os.O_RDWR
        return struct.pack("<QII", os.open(path, flags, mode), 0, 0)

    # -- operations by their number --------------------------------------------------------------

    def _op_26(self, _node: int, body: bytes) -> bytes:  # INIT
        return struct.pack(
            "<IIIIHHIIHHI7I", 7, 31, 65536, 0, 16, 12, _MAX_WRITE, 1, 0, 0, 0, *[0] * 7
        )

    def _op_1(self, node: int, body: bytes) -> bytes:  # LOOKUP
        return self._entry(self._child(node, body))

    def _op_3(self, node: int, body: bytes) -> bytes:  # GETATTR
        return struct.pack("<QII", 0, 0, 0) + self._attributes(node, self._paths[node].lstat())

    def _op_4(self, node: int, body: bytes) -> bytes:  # SETATTR
        fields: Any = _SETATTR.unpack_from(body)
        self._writes()
        if fields[0] & _MODE:
            self._paths[node].chmod(stat.S_IMODE(fields[11]))
        if fields[0] & _SIZE:
            os.truncate(self._paths[node], fields[3])
        return self._op_3(node, body)

    def _op_9(self, node: int, body: bytes) -> bytes:  # MKDIR
        path = self._child(node, body[8:])
        self._writes()
        path.mkdir(struct.unpack_from("<I", body)[0] & 0o7777)
        return self._entry(path)

    def _op_10(self, node: int, body: bytes) -> bytes:  # UNLINK
        self._writes()
        self._child(node, body).unlink()
        return b""

    def _op_11(self, node: int, body: bytes) -> bytes:  # RMDIR
        self._writes()
        self._child(node, body).rmdir()
        return b""

    def _op_12(self, node: int, body: bytes, after: int = 8) -> bytes:  # RENAME
        old, new, *_none = body[after:].split(b"\0")
        source = self._child(node, old)
        target = self._child(struct.unpack_from("<Q", body)[0], new)
        self._writes()
        source.rename(target)
        number = self._numbers.pop(source, None)
        if number is not None:
            self._paths[number] = target
            self._numbers[target] = number
        return b""

    def _op_45(self, node: int, body: bytes) -> bytes:  # RENAME2
        return self._op_12(node, body, 16)

    def _op_14(self, node: int, body: bytes) -> bytes:  # OPEN
        return self._open(self._paths[node], struct.unpack_from("<I", body)[0])

    def _op_35(self, node: int, body: bytes) -> bytes:  # CREATE
        flags, mode = struct.unpack_from("<II", body)
        path = self._child(node, body[16:])
        self._writes()
        opened = self._open(path, flags | os.O_CREAT, mode & 0o7777)
        return self._entry(path) + opened

    def _op_15(self, _node: int, body: bytes) -> bytes:  # READ
        handle, offset, size, _flags = _IO.unpack_from(body)
        return os.pread(handle, size, offset)

    def _op_16(self, _node: int, body: bytes) -> bytes:  # WRITE
        handle, offset, size, _flags = _IO.unpack_from(body)
        self._writes()
        os.pwrite(handle, body[_IO_BYTES : _IO_BYTES + size], offset)
        return struct.pack("<II", size, 0)

    def _op_17(self, _node: int, _body: bytes) -> bytes:  # STATFS
        facts = os.statvfs(self._paths[1])
        free = 0 if self.cannot_write == errno.ENOSPC else facts.f_bavail
        return struct.pack(
            "<5Q4I24x",
            facts.f_blocks,
            free,
            free,
            facts.f_files,
            facts.f_ffree,
            facts.f_bsize,
            255,
            facts.f_frsize,
            0,
        )

    def _op_18(self, _node: int, body: bytes) -> bytes:  # RELEASE
        os.close(struct.unpack_from("<Q", body)[0])
        return b""

    def _op_20(self, _node: int, body: bytes) -> bytes:  # FSYNC
        self._writes()
        return b""

    def _op_25(self, _node: int, _body: bytes) -> bytes:  # FLUSH
        return b""

    def _op_27(self, node: int, _body: bytes) -> bytes:  # OPENDIR
        return struct.pack("<QII", node, 0, 0)

    def _op_28(self, node: int, body: bytes) -> bytes:  # READDIR
        _handle, offset, size, _flags = _IO.unpack_from(body)
        said = b""
        for place, name in enumerate(sorted(one.name for one in self._paths[node].iterdir()), 1):
            if place <= offset:
                continue
            raw = name.encode()
            entry = struct.pack("<QQII", place + 1000, place, len(raw), 0) + raw
            entry += b"\0" * (-len(entry) % 8)
            if len(said) + len(entry) > size:
                break
            said += entry
        return said

    def _op_29(self, _node: int, _body: bytes) -> bytes:  # RELEASEDIR
        return b""

    def _op_30(self, _node: int, _body: bytes) -> bytes:  # FSYNCDIR
        self._writes()
        return b""
