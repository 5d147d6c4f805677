"""One tenant of the run: random verbs through the API, and what came of each."""

from __future__ import annotations

import random
import socket
import time
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Event, Lock
from typing import Any, Final

from tests.e2e.client import Answer, Api

# Of each kind a tenant keeps no more than so many, so that two small hosts hold them.
MOST: Final = {
    "vm": 3,
    "disk": 4,
    "snapshot": 5,
    "image": 2,
    "group": 4,
    "vpc": 2,
    "key": 3,
    "eip": 4,
    "eni": 3,
}
PATIENCE_S: Final = 120.0
PAUSE_S: Final = (0.2, 3.0)
ADDRESS_RULE: Final = {"direction": "in", "protocol": "tcp", "cidr": "0.0.0.0/0"}
PASSWORD: Final = "Passw0rd!x"


@dataclass
class Tally:
    """What the tenants met, counted together."""

    lock: Lock = field(default_factory=Lock)
    verbs: Counter[str] = field(default_factory=Counter)
    accepted: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    away: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    def fail(self, words: str) -> None:
        """Note what must not happen."""
        with self.lock:
            self.failures.append(words)

    def count(self, verb: str, answer: Answer) -> None:
        """Note how a verb ended."""
        with self.lock:
            self.verbs[verb] += 1
            if answer.status < 400:
                self.accepted[verb] += 1
            else:
                body = answer.body if isinstance(answer.body, dict) else {}
                self.refused[f"{verb}: {body.get('code', answer.status)}"] += 1


class NothingToActOn(Exception):
    """The verb needs a resource that the tenant does not have."""


@dataclass
class Tenant:
    """A tenant's key, its own chance, and the ids of what it made."""

    name: str
    api: Api
    chance: random.Random
    tally: Tally
    # Whether console or database were killed a moment ago, so that a 503 is no surprise.
    excused: Callable[[], bool]
    stop: Event
    known: dict[str, list[str]] = field(default_factory=lambda: {kind: [] for kind in MOST})
    names: int = 0
    # What the present verb turned out to be.
    label: str = ""

    def run(self, verbs: int) -> None:
        """Do so many verbs, one after the other."""
        done = 0
        while done < verbs and not self.stop.is_set():
            self.label, verb = self.chance.choice(VERBS)
            try:
                answer = verb(self)
            except NothingToActOn:
                continue  # it has no such thing now, or has enough of them: another verb then
            except Exception as error:
                self.tally.fail(f"{self.name} {self.label}: {error!r}"[:500])
            else:
                self.tally.count(self.label, answer)
            done += 1
            self.stop.wait(self.chance.uniform(*PAUSE_S))

    # -- requests ----------------------------------------------------------------------------

    def ask(self, method: str, path: str, body: Any = None) -> Answer:
        """Send one request until somebody answers, with one key, as good clients do."""
        key = str(uuid.uuid4()) if method == "POST" else ""
        end = time.monotonic() + PATIENCE_S
        while True:
            try:
                answer = self.api.call(method, path, body, key)
            except OSError as error:
                answer = Answer(0, repr(error))
            if answer.status and answer.status < 500 and not _asks_to_wait(answer):
                return answer
            if answer.status >= 500:
                with self.tally.lock:
                    self.tally.away[str(answer.status)] += 1
                if answer.status != 503 or not self.excused():
                    self.tally.fail(f"{self.name} {method} {path}: {answer}"[:500])
                    return answer
            if time.monotonic() > end:
                self.tally.fail(f"{self.name} {method} {path}: no answer: {answer}"[:500])
                return answer
            time.sleep(0.5)

    def bought(self, quote_path: str, path: str, order: dict[str, Any]) -> Answer:
        """Quote, and buy at that price."""
        quote = self.ask("POST", quote_path, order)
        if quote.status != 200:
            return quote
        return self.ask("POST", path, {**order, "quote_token": quote.body["token"]})

    def results(self, path: str) -> list[dict[str, Any]]:
        """The first page of a list."""
        answer = self.ask("GET", path)
        if answer.status != 200:
            raise NothingToActOn
        found: list[dict[str, Any]] = answer.body["results"]
        return found

    # -- things ------------------------------------------------------------------------------

    def remember(self, kind: str, answer: Answer) -> Answer:
        """Keep the ids of what was made."""
        if answer.status in (200, 201, 202) and answer.body:
            made = answer.body if isinstance(answer.body, list) else [answer.body]
            for one in made:
                found = one.get("id") or one.get("target_id") or one.get("resource_id")
                if found and found not in self.known[kind]:
                    self.known[kind].append(found)
        return answer

    def room_for(self, kind: str) -> None:
        """Make no more than a few of a kind."""
        if len(self.known[kind]) >= MOST[kind]:
            raise NothingToActOn

    def one(self, kind: str) -> str:
        """Any of a kind."""
        if not self.known[kind]:
            raise NothingToActOn
        return self.chance.choice(self.known[kind])

    def look(self, kind: str, path: str) -> dict[str, Any]:
        """Any of a kind as the API shows it now; what is gone is forgotten."""
        found = self.one(kind)
        answer = self.ask("GET", f"{path}/{found}")
        if answer.status == 404 or (
            answer.status == 200 and answer.body.get("status") in ("destroyed", "failed")
        ):
            if answer.status == 200:
                self.ask("DELETE", f"{path}/{found}")
            self.known[kind].remove(found)
            raise NothingToActOn
        if answer.status != 200:
            raise NothingToActOn
        shown: dict[str, Any] = answer.body
        return shown

    def fresh_name(self) -> str:
        """A name that was not used before."""
        self.names += 1
        return f"{self.name}-{self.names}"

    def catalogue(self) -> dict[str, Any]:
        """The smallest order of a VM that is possible now."""
        image = next(one for one in self.results("/images") if one["distribution"] == "mini")
        return {
            "region": image["region_id"],
            "cluster": "x86",
            "image": image["id"],
            "vcpus": 1,
            "memory_mib": 256,
            "system_disk_type": self.chance.choice(("ssd", "hdd")),
            "system_disk_gib": 40,
            "subnet": self.chance.choice(self.results("/subnets"))["id"],
            "internal_security_group": self.chance.choice(self.results("/security-groups"))["id"],
            "name": self.fresh_name(),
            "password": PASSWORD,
        }


def _asks_to_wait(answer: Answer) -> bool:
    code = answer.body.get("code") if isinstance(answer.body, dict) else ""
    return answer.status == 429 or (
        answer.status == 409 and code in ("idempotency_key_in_use", "busy_retry")
    )


Verb = Callable[[Tenant], Answer]
VERBS: list[tuple[str, Verb]] = []


def verb(name: str, weight: int = 1) -> Callable[[Verb], Verb]:
    """Enter a verb in the lot, ``weight`` times."""

    def enter(function: Verb) -> Verb:
        VERBS.extend([(name, function)] * weight)
        return function

    return enter


# -- VMs -------------------------------------------------------------------------------------------


@verb("vm.buy", 6)
def _buy_vm(t: Tenant) -> Answer:
    t.room_for("vm")
    order = t.catalogue()
    if t.chance.random() < 0.3:
        order |= {"data_disk_type": "ssd", "data_disk_gib": 10}
    if t.chance.random() < 0.3:
        order |= {"external_segment": _segment(t), "external_bandwidth_mbps": 5}
    return t.remember("vm", t.bought("/vms/quote", "/vms", order))


# What a person can do with what they see: mostly what is allowed now, sometimes anything.
def _alarm_templates(t: Tenant) -> list[str]:
    """The templates for VMs that the tenant has."""
    return [one["id"] for one in t.results("/alarm-templates?subject=vm")]


_VM_CALLS: dict[str, tuple[str, str, Callable[[Tenant, dict[str, Any]], Any]]] = {
    "start_vm": ("POST", "/start", lambda t, vm: None),
    "shut_down_vm": ("POST", "/shut-down", lambda t, vm: None),
    "power_off_vm": ("POST", "/power-off", lambda t, vm: None),
    "restart_vm": ("POST", "/restart", lambda t, vm: None),
    "delete_vm": ("DELETE", "", lambda t, vm: None),
    "restore_vm": ("POST", "/restore", lambda t, vm: None),
    "destroy_vm": ("POST", "/destroy", lambda t, vm: {"confirm_name": vm["name"]}),
    "rename_vm": ("PATCH", "", lambda t, vm: {"name": t.fresh_name()}),
    "protect_vm": (
        "PATCH",
        "",
        lambda t, vm: {"deletion_protected": t.chance.random() < 0.3},
    ),
    "reset_password": ("POST", "/reset-password", lambda t, vm: {"password": PASSWORD}),
    "reinstall_vm": (
        "POST",
        "/reinstall",
        lambda t, vm: {"image": vm["image_id"], "password": PASSWORD},
    ),
    "make_image": ("POST", "/make-image", lambda t, vm: {"name": t.fresh_name()}),
    "change_private_ip": ("POST", "/change-private-ip", lambda t, vm: {}),
    "update_machine_type": ("POST", "/update-machine-type", lambda t, vm: {}),
    "change_placement_group": (
        "POST",
        "/change-placement-group",
        lambda t, vm: {"group": None},
    ),
    "change_alarm_template": (
        "POST",
        "/change-alarm-template",
        lambda t, vm: {"template": t.chance.choice([None, *_alarm_templates(t)])},
    ),
    "change_security_groups": (
        "POST",
        "/change-security-groups",
        lambda t, vm: {
            "internal": t.chance.choice(t.results("/security-groups"))["id"],
            "external": None,
        },
    ),
}


@verb("vm.any", 30)
def _vm_verb(t: Tenant) -> Answer:
    vm = t.look("vm", "/vms")
    allowed = [
        one["verb"]
        for one in vm["allowed_actions"]
        if one["allowed"] and one["verb"] in _VM_CALLS and one["verb"] != "make_image"
    ]
    name = t.chance.choice(allowed or list(_VM_CALLS))
    if t.chance.random() < 0.15:
        name = t.chance.choice(list(_VM_CALLS))
    if name == "make_image":
        t.room_for("image")
    method, path, body = _VM_CALLS[name]
    t.label = name
    answer = t.ask(method, f"/vms/{vm['id']}{path}", body(t, vm))
    if name == "destroy_vm" and answer.status == 202:
        t.known["vm"].remove(vm["id"])
    if name == "make_image" and answer.status == 202:
        _find_images(t)
    return answer


@verb("vm.cycle", 12)
def _cycle(t: Tenant) -> Answer:
    """Power verbs alone, which are most of what people do."""
    vm = t.look("vm", "/vms")
    names = ("start_vm", "shut_down_vm", "power_off_vm", "restart_vm")
    allowed = [one["verb"] for one in vm["allowed_actions"] if one["allowed"]]
    name = t.chance.choice([one for one in names if one in allowed] or list(names))
    t.label = name
    return t.ask("POST", f"/vms/{vm['id']}{_VM_CALLS[name][1]}")


@verb("vm.modify", 2)
def _modify(t: Tenant) -> Answer:
    path = f"/vms/{t.look('vm', '/vms')['id']}/modify"
    return t.bought(f"{path}/quote", path, {"vcpus": 1, "memory_mib": t.chance.choice((256, 512))})


@verb("vm.hot_upgrade", 2)
def _hot_upgrade(t: Tenant) -> Answer:
    path = f"/vms/{t.look('vm', '/vms')['id']}/hot-upgrade"
    return t.bought(f"{path}/quote", path, {"vcpus": 1, "memory_mib": 512})


@verb("vm.vnc_information", 4)
def _vnc(t: Tenant) -> Answer:
    """A port of the gateway; whoever dials it is greeted, unless the gateway was just killed."""
    answer = t.ask("POST", f"/vms/{t.look('vm', '/vms')['id']}/vnc-information", {})
    if answer.status == 200:
        greeted = False
        end = time.monotonic() + 10
        while not greeted and time.monotonic() < end:
            try:
                place = (answer.body["address"], answer.body["port"])
                with socket.create_connection(place, 2) as dialled:
                    greeted = dialled.recv(4) == b"RFB "
            except OSError:
                time.sleep(0.3)
        with t.tally.lock:
            t.tally.accepted["vnc greeted" if greeted else "vnc not greeted"] += 1
    return answer


@verb("vm.batch", 2)
def _batch(t: Tenant) -> Answer:
    ids = list(t.known["vm"])
    if not ids:
        raise NothingToActOn
    name = t.chance.choice(("start_vm", "shut_down_vm", "power_off_vm", "restart_vm"))
    return t.ask("POST", "/vms/batch", {"verb": name, "ids": ids})


@verb("subscription.renew", 2)
def _renew(t: Tenant) -> Answer:
    found = t.one(t.chance.choice(("vm", "disk")))
    path = f"/billing/subscriptions/{found}"
    return t.bought(f"{path}/renewal-quote", f"{path}/renew", {"periods": 1})


@verb("subscription.auto_renew")
def _auto_renew(t: Tenant) -> Answer:
    path = f"/billing/subscriptions/{t.one('vm')}/set-auto-renew"
    return t.ask("POST", path, {"auto_renew": True})


# -- disks, snapshots, images --------------------------------------------------------------------


@verb("disk.buy", 4)
def _buy_disk(t: Tenant) -> Answer:
    t.room_for("disk")
    order = {
        "region": "box",
        "disk_type": t.chance.choice(("ssd", "hdd")),
        "size_gib": 10,
        "name": t.fresh_name(),
    }
    return t.remember("disk", t.bought("/disks/quote", "/disks", order))


@verb("disk.attach", 5)
def _attach(t: Tenant) -> Answer:
    return t.ask("POST", f"/disks/{t.look('disk', '/disks')['id']}/attach", {"vm": t.one("vm")})


@verb("disk.detach", 3)
def _detach(t: Tenant) -> Answer:
    body = {"force": t.chance.random() < 0.5}
    return t.ask("POST", f"/disks/{t.look('disk', '/disks')['id']}/detach", body)


@verb("disk.expand", 2)
def _expand(t: Tenant) -> Answer:
    disk = t.look("disk", "/disks")
    path = f"/disks/{disk['id']}/expand"
    return t.bought(f"{path}/quote", path, {"size_gib": disk["size_gib"] + 10})


@verb("disk.clone", 2)
def _clone(t: Tenant) -> Answer:
    t.room_for("disk")
    disk = t.look("disk", "/disks")
    order = {"size_gib": disk["size_gib"], "name": t.fresh_name()}
    quote = t.ask(
        "POST",
        "/disks/quote",
        {**order, "region": "box", "disk_type": disk["disk_type_id"], "disk": disk["id"]},
    )
    if quote.status != 200:
        return quote
    body = {**order, "quote_token": quote.body["token"]}
    return t.remember("disk", t.ask("POST", f"/disks/{disk['id']}/clone", body))


@verb("disk.delete", 2)
def _delete_disk(t: Tenant) -> Answer:
    return t.ask("DELETE", f"/disks/{t.look('disk', '/disks')['id']}")


@verb("disk.restore", 2)
def _restore_disk(t: Tenant) -> Answer:
    return t.ask("POST", f"/disks/{t.look('disk', '/disks')['id']}/restore")


@verb("disk.destroy", 2)
def _destroy_disk(t: Tenant) -> Answer:
    disk = t.look("disk", "/disks")
    return t.ask("POST", f"/disks/{disk['id']}/destroy", {"confirm_name": disk["name"]})


@verb("disk.schedule")
def _schedule(t: Tenant) -> Answer:
    path = f"/disks/{t.look('disk', '/disks')['id']}/schedule"
    if t.chance.random() < 0.4:
        return t.ask("DELETE", path)
    body = {"hours": [t.chance.randrange(24)], "keep_count": 2, "time_zone": "Asia/Shanghai"}
    return t.ask("PUT", path, body)


@verb("snapshot.take", 4)
def _take(t: Tenant) -> Answer:
    t.room_for("snapshot")
    disk = t.chance.choice(t.results("/disks") or [{"id": t.one("disk")}])
    body = {"disk": disk["id"], "name": t.fresh_name()}
    return t.remember("snapshot", t.ask("POST", "/snapshots", body))


@verb("snapshot.delete", 3)
def _delete_snapshot(t: Tenant) -> Answer:
    return t.ask("DELETE", f"/snapshots/{t.look('snapshot', '/snapshots')['id']}")


@verb("snapshot.roll_back", 2)
def _roll_back(t: Tenant) -> Answer:
    return t.ask("POST", f"/snapshots/{t.look('snapshot', '/snapshots')['id']}/roll-back")


@verb("snapshot.create_disk", 2)
def _disk_of_snapshot(t: Tenant) -> Answer:
    t.room_for("disk")
    snapshot = t.look("snapshot", "/snapshots")
    order = {"size_gib": snapshot["size_gib"], "name": t.fresh_name()}
    asked = {**order, "region": "box", "disk_type": "ssd", "snapshot": snapshot["id"]}
    quote = t.ask("POST", "/disks/quote", asked)
    if quote.status != 200:
        return quote
    path = f"/snapshots/{snapshot['id']}/create-disk"
    made = t.ask("POST", path, {**order, "quote_token": quote.body["token"]})
    return t.remember("disk", made)


def _find_images(t: Tenant) -> None:
    """Images are told by the list: the answer of ``make-image`` is about the VM's job."""
    t.known["image"] = [
        one["id"]
        for one in t.results("/images?page_size=100")
        if one["name"].startswith(f"{t.name}-")
    ]


@verb("image.make", 2)
def _make_image(t: Tenant) -> Answer:
    _find_images(t)
    t.room_for("image")
    answer = t.ask("POST", f"/vms/{t.one('vm')}/make-image", {"name": t.fresh_name()})
    _find_images(t)
    return answer


@verb("image.change")
def _rename_image(t: Tenant) -> Answer:
    return t.ask("PATCH", f"/images/{t.one('image')}", {"name": t.fresh_name()})


@verb("image.delete", 2)
def _delete_image(t: Tenant) -> Answer:
    return t.ask("DELETE", f"/images/{t.one('image')}")


@verb("image.restore")
def _restore_image(t: Tenant) -> Answer:
    return t.ask("POST", f"/images/{t.one('image')}/restore")


@verb("image.destroy")
def _destroy_image(t: Tenant) -> Answer:
    image = t.look("image", "/images")
    return t.ask("POST", f"/images/{image['id']}/destroy", {"confirm_name": image["name"]})


# -- networks, groups, keys ----------------------------------------------------------------------


@verb("group.make", 2)
def _make_group(t: Tenant) -> Answer:
    t.room_for("group")
    body = {"region": "box", "name": t.fresh_name()}
    return t.remember("group", t.ask("POST", "/security-groups", body))


@verb("group.rule", 4)
def _rule(t: Tenant) -> Answer:
    body = {**ADDRESS_RULE, "ports": str(t.chance.randrange(1, 65536))}
    return t.ask("POST", f"/security-groups/{t.one('group')}/rules", body)


@verb("group.delete", 2)
def _delete_group(t: Tenant) -> Answer:
    group = t.one("group")
    answer = t.ask("DELETE", f"/security-groups/{group}")
    if answer.status < 300 or answer.status == 404:
        t.known["group"].remove(group)
    return answer


@verb("vpc.make")
def _make_vpc(t: Tenant) -> Answer:
    t.room_for("vpc")
    body = {"region": "box", "name": t.fresh_name(), "cidr": "10.8.0.0/16"}
    made = t.remember("vpc", t.ask("POST", "/vpcs", body))
    if made.status < 300:
        subnet = {"vpc": made.body["id"], "name": t.fresh_name(), "cidr": "10.8.1.0/24"}
        return t.ask("POST", "/subnets", subnet)
    return made


@verb("vpc.delete")
def _delete_vpc(t: Tenant) -> Answer:
    vpc = t.one("vpc")
    for subnet in t.results("/subnets?page_size=100"):
        if subnet["vpc"] == vpc:
            t.ask("DELETE", f"/subnets/{subnet['id']}")
    answer = t.ask("DELETE", f"/vpcs/{vpc}")
    if answer.status < 300 or answer.status == 404:
        t.known["vpc"].remove(vpc)
    return answer


def _segment(t: Tenant) -> str:
    """Any segment of which addresses can be bought."""
    answer = t.ask("GET", "/segments?region=box")
    if answer.status != 200:
        raise NothingToActOn
    found: str = t.chance.choice(answer.body)["id"]
    return found


def _find_external_ips(t: Tenant) -> None:
    """Those that came with VMs too."""
    shown = t.results("/external-ips?page_size=100")
    t.known["eip"] += [one["id"] for one in shown if one["id"] not in t.known["eip"]]


@verb("eip.buy", 3)
def _buy_external_ips(t: Tenant) -> Answer:
    _find_external_ips(t)
    t.room_for("eip")
    order = {
        "region": "box",
        "segment": _segment(t),
        "bandwidth_mbps": t.chance.choice((1, 10)),
        "count": t.chance.choice((1, 2)),
        "name": t.fresh_name(),
    }
    return t.remember("eip", t.bought("/external-ips/quote", "/external-ips", order))


_EXTERNAL_IP_CALLS: dict[str, tuple[str, str, Callable[[Tenant, dict[str, Any]], Any]]] = {
    "bind_external_ip": ("POST", "/bind", lambda t, row: {"target": t.one("vm")}),
    "unbind_external_ip": ("POST", "/unbind", lambda t, row: None),
    "set_default_egress": ("POST", "/set-default-egress", lambda t, row: None),
    "rename_external_ip": ("PATCH", "", lambda t, row: {"name": t.fresh_name()}),
    "delete_external_ip": ("DELETE", "", lambda t, row: None),
    "restore_external_ip": ("POST", "/restore", lambda t, row: None),
    "destroy_external_ip": ("POST", "/destroy", lambda t, row: {"confirm_name": row["name"]}),
}


@verb("eip.any", 16)
def _external_ip_verb(t: Tenant) -> Answer:
    _find_external_ips(t)
    row = t.look("eip", "/external-ips")
    allowed = [
        one["verb"]
        for one in row["allowed_actions"]
        if one["allowed"] and one["verb"] in _EXTERNAL_IP_CALLS
    ]
    name = t.chance.choice(allowed or list(_EXTERNAL_IP_CALLS))
    if t.chance.random() < 0.15:
        name = t.chance.choice(list(_EXTERNAL_IP_CALLS))
    method, path, body = _EXTERNAL_IP_CALLS[name]
    t.label = name
    return t.ask(method, f"/external-ips/{row['id']}{path}", body(t, row))


@verb("eip.bandwidth", 2)
def _external_ip_bandwidth(t: Tenant) -> Answer:
    path = f"/external-ips/{t.look('eip', '/external-ips')['id']}/change-bandwidth"
    return t.bought(f"{path}/quote", path, {"bandwidth_mbps": t.chance.randrange(1, 20)})


@verb("eni.make", 3)
def _make_eni(t: Tenant) -> Answer:
    t.room_for("eni")
    order: dict[str, Any] = {"region": "box", "name": t.fresh_name()}
    if t.chance.random() < 0.5:
        order["subnet"] = t.chance.choice(t.results("/subnets"))["id"]
        return t.remember("eni", t.ask("POST", "/enis", order))
    order |= {"segment": _segment(t), "bandwidth_mbps": 5}
    return t.remember("eni", t.bought("/enis/quote", "/enis", order))


@verb("eni.bind", 4)
def _bind_eni(t: Tenant) -> Answer:
    return t.ask("POST", f"/enis/{t.look('eni', '/enis')['id']}/bind", {"vm": t.one("vm")})


@verb("eni.unbind", 3)
def _unbind_eni(t: Tenant) -> Answer:
    return t.ask("POST", f"/enis/{t.look('eni', '/enis')['id']}/unbind")


@verb("eni.delete")
def _delete_eni(t: Tenant) -> Answer:
    return t.ask("DELETE", f"/enis/{t.look('eni', '/enis')['id']}")


@verb("key.make")
def _make_key(t: Tenant) -> Answer:
    t.room_for("key")
    return t.remember("key", t.ask("POST", "/api-keys", {"name": t.fresh_name()}))


@verb("key.revoke")
def _revoke_key(t: Tenant) -> Answer:
    key = t.one("key")
    t.known["key"].remove(key)
    return t.ask("POST", f"/api-keys/{key}/revoke")
