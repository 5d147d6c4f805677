"""Looking at and converging rows of the northbound database.

Every row of ours has a UUID that follows from the owner and the thing's id. So two processes that
create the same thing at the same moment collide in the database instead of making it twice, even
in tables whose names need not be unique, and a look-up needs no search.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from typing import Any, Final

from ovs.db.data import Atom
from ovs.db.types import UuidType

from network.fabric.base import ForeignRow, Kind

_NAMESPACE: Final = uuid.UUID("6a0f6a5e-0d6f-4f3c-9d5c-0f5f3f9d7c11")
_PREFIX: Final = "scloud:"
_OWNER: Final = f"{_PREFIX}owner"
_KIND: Final = f"{_PREFIX}kind"
_ID: Final = f"{_PREFIX}id"

#: The columns, beside those that are written, that change what packets do. An owned row has the
#: value of a new row in them. Those that a database does not have are left out.
PLAIN: Final[Mapping[str, Mapping[str, object]]] = {
    "Logical_Router": {
        "enabled": [],
        "load_balancer": [],
        "load_balancer_group": [],
        "nat": [],
        "options": {},
        "policies": [],
        "static_routes": [],
    },
    "Logical_Router_Port": {
        "enabled": [],
        "gateway_chassis": [],
        "ha_chassis_group": [],
        "ipv6_ra_configs": {},
        "options": {},
        "peer": [],
    },
    "Logical_Switch": {
        "acls": [],
        "dns_records": [],
        "forwarding_groups": [],
        "load_balancer": [],
        "load_balancer_group": [],
        "other_config": {},
    },
    "Logical_Switch_Port": {
        "dhcpv4_options": [],
        "dhcpv6_options": [],
        "enabled": [],
        "ha_chassis_group": [],
        "mirror_rules": [],
        "options": {},
        "parent_name": [],
        "port_security": [],
        "tag": [],
        "tag_request": [],
    },
    "ACL": {"label": 0, "log": False, "options": {}, "tier": 0},
    "QoS": {"action": {}},
}


class Marks:
    def __init__(self, owner: str) -> None:
        self.owner = owner

    def uuid(self, table: str, key: str) -> uuid.UUID:
        """The UUID of the row of ``table`` that stands for ``key``."""
        return uuid.uuid5(_NAMESPACE, f"{self.owner}/{table}/{key}")

    def ids(self, kind: Kind, thing_id: str, **more: str) -> dict[str, str]:
        """The external ids that mark a row as this owner's."""
        marks = {_OWNER: self.owner, _KIND: kind.value, _ID: thing_id}
        return marks | {f"scloud:{key}": value for key, value in more.items()}

    def kind_and_id(self, row: Any) -> tuple[Kind, str] | None:
        """What a row stands for, or None for a row of somebody else's."""
        marks = row.external_ids
        if marks.get(_OWNER) != self.owner:
            return None
        try:
            return Kind(marks.get(_KIND, "")), marks[_ID]
        except (KeyError, ValueError):
            return None


class Editor:
    """One transaction's view of the tables, which writes only what differs and notes it."""

    def __init__(self, tables: Any, txn: Any, marks: Marks, *, rehearsal: bool = False) -> None:
        self._tables = tables
        self._txn = txn
        self._marks = marks
        # The library does not put its indexes back after an abort, so a rehearsal inserts rows
        # but leaves those that exist alone.
        self._rehearsal = rehearsal
        #: By table and column: which rows have which members.
        self._holders: dict[tuple[str, str], dict[uuid.UUID, list[Any]]] = {}
        self._meters: dict[str, list[Any]] | None = None
        self.changes: list[str] = []

    def find(self, table: str, key: str) -> Any:
        """The owner's row for ``key``, or None. Raises ForeignRow if its mark was taken away."""
        row = self._tables[table].rows.get(self._marks.uuid(table, key))
        if row is not None and self._marks.kind_and_id(row) is None:
            raise ForeignRow(f"{table} {row.uuid} no longer carries the mark of {key}")
        return row

    def named(self, table: str, name: str) -> Iterator[Any]:
        """Every row of that name, whoever made it, by the table's index."""
        rows = self._tables[table].rows
        entry = rows.IndexEntry(name=name)
        yield from list(rows.indexes["name"].irange(entry, entry))

    def holding(self, table: str, column: str, child: Any) -> list[Any]:
        """The owner's rows of ``table`` that had ``child`` in a set of references.

        As it was when the transaction began. Read once for all children, and where the library
        keeps it: reading the column would build an object per member.
        """
        holders = self._holders.get((table, column))
        if holders is None:
            holders = self._holders[table, column] = {}
            for row in self._tables[table].rows.values():
                datum = (row._data or {}).get(column)
                for member in () if datum is None else datum.values:
                    holders.setdefault(member.value, []).append(row)
        found = holders.get(child.uuid, ())
        return [row for row in found if self._marks.kind_and_id(row) is not None]

    def meters_of(self, port_name: str) -> list[Any]:
        """The QoS rows that name a port, as they were when they were first asked for."""
        if self._meters is None:
            self._meters = {}
            for row in self._tables["QoS"].rows.values():
                if (port := row.external_ids.get(f"{_PREFIX}port")) is not None:
                    self._meters.setdefault(port, []).append(row)
        return self._meters.get(port_name, [])

    def ensure(
        self, table: str, key: str, marks: Mapping[str, str], **columns: object
    ) -> tuple[Any, bool]:
        """The owner's row for ``key`` with these columns, and whether it is new.

        Raises ForeignRow where somebody else's row has the same name.
        """
        row = self.find(table, key)
        name = columns.get("name")
        if isinstance(name, str):
            for other in self.named(table, name):
                if self._marks.kind_and_id(other) is None:
                    raise ForeignRow(f"{table} {name} ({other.uuid}) belongs to somebody else")
        created = row is None
        if created:
            row = self._txn.insert(
                self._tables[table], self._marks.uuid(table, key), persist_uuid=True
            )
            self.changes.append(f"{table} {name or key}: created")
        for column, value in columns.items():
            self.put(row, column, value, label=None if created else f"{table} {name or key}")
        if created:
            row.external_ids = dict(marks)
        else:
            self._put_marks(row, marks, label=f"{table} {name or key}")
            self._put_plain(row, table, columns, label=f"{table} {name or key}")
        return row, created

    def _put_marks(self, row: Any, marks: Mapping[str, str], *, label: str) -> None:
        there = dict(row.external_ids)
        wrong = {key: value for key, value in marks.items() if there.get(key) != value}
        surplus = [key for key in there if key.startswith(_PREFIX) and key not in marks]
        if not wrong and not surplus:
            return
        self.changes.append(f"{label}: external_ids corrected")
        if not self._rehearsal:
            for key, value in wrong.items():
                row.setkey("external_ids", key, value)
            for key in surplus:
                row.delkey("external_ids", key)

    def _put_plain(
        self, row: Any, table: str, columns: Mapping[str, object], *, label: str
    ) -> None:
        """Give the columns that nobody asked for back the value that a new row has."""
        for column, default in PLAIN.get(table, {}).items():
            # Read where the library keeps it: what is referred to may not be mirrored here.
            datum = (row._data or {}).get(column)
            if datum is None or column in columns:
                continue
            is_set = default in ([], {})
            if datum.values if is_set else getattr(row, column) != default:
                self.changes.append(f"{label}: {column} corrected")
                if not self._rehearsal:
                    setattr(row, column, default)

    def drop(self, table: str, key: str) -> None:
        """Delete the owner's row for ``key``, if there is one."""
        row = self.find(table, key)
        if row is None:
            return
        self.changes.append(f"{table} {key}: removed")
        if not self._rehearsal:
            row.delete()

    def put(self, row: Any, column: str, value: object, *, label: str | None) -> None:
        """Write a column if it differs; noted as a change unless ``label`` is None (a new row)."""
        if label is None:
            if value not in ([], {}):
                setattr(row, column, value)
            return
        if _plain(getattr(row, column)) != _plain(value):
            self.changes.append(f"{label}: {column} corrected")
            if not self._rehearsal:
                setattr(row, column, value)

    def link(self, row: Any, column: str, child: Any, *, label: str) -> None:
        """Put ``child`` into a set of references, leaving the set's other members alone."""
        if _has(row, column, child.uuid):
            return
        self.changes.append(f"{label}: added to {column}")
        if not self._rehearsal:
            # Somebody may delete ``row`` meanwhile; then the whole work is done again.
            row.verify("name")
            row.addvalue(column, child.uuid)

    def unlink(self, row: Any, column: str, child: Any, *, label: str) -> None:
        """Take ``child`` out of a set of references."""
        if not _has(row, column, child.uuid):
            return
        self.changes.append(f"{label}: removed from {column}")
        if not self._rehearsal:
            row.delvalue(column, child.uuid)

    def link_only(self, table: str, row: Any, column: str, child: Any, *, label: str) -> None:
        """Put ``child`` into a set of ``row``, and take it out of those of the table's others."""
        for other in self.holding(table, column, child):
            if other.uuid != row.uuid:
                self.unlink(other, column, child, label=other.name)
        self.link(row, column, child, label=label)


def _has(row: Any, column: str, member: uuid.UUID) -> bool:
    """Whether a set of references has a member, as this transaction leaves it.

    Asked where the library keeps it: reading the column would build and sort an object per member.
    """
    written = (row._changes or {}).get(column)
    if written is None:
        pending = row._mutations or {}
        if member in pending.get("_removes", {}).get(column, ()):
            return False
        if member in pending.get("_inserts", {}).get(column, ()):
            return True
        written = (row._data or {}).get(column)
    return written is not None and Atom(UuidType, member) in written.values


def _plain(value: object) -> object:
    """Sets of the database compare without order; references by UUID."""
    if isinstance(value, (list, tuple, set)):
        return sorted(str(getattr(one, "uuid", one)) for one in value)
    if isinstance(value, dict):
        return value
    return sorted([str(getattr(value, "uuid", value))])
