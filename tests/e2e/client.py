"""A client of the API in a few lines: what a program of a tenant would do."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
import uuid
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Answer:
    """Status and body of an answer."""

    status: int
    body: Any


@dataclass(frozen=True)
class Api:
    """The API at ``url`` with a bearer key."""

    url: str
    secret: str

    def call(self, method: str, path: str, body: Any = None, key: str = "") -> Answer:
        """Send one request; refusals are answers too. OSError when nobody answers."""
        request = urllib.request.Request(
            f"{self.url}/api/v1{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={
                "Authorization": f"Bearer {self.secret}",
                "Content-Type": "application/json",
                **({"Idempotency-Key": key} if key else {}),
            },
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return Answer(answer.status, json.loads(answer.read() or b"null"))
        except urllib.error.HTTPError as error:
            with error:
                text = error.read()
            try:
                return Answer(error.code, json.loads(text or b"null"))
            except json.JSONDecodeError:
                return Answer(error.code, text.decode(errors="replace"))

    def get(self, path: str) -> Any:
        """GET; the body of a 200."""
        answer = self.call("GET", path)
        assert answer.status == 200, answer
        return answer.body

    def post(self, path: str, body: Any = None, *, expect: int = 202) -> Any:
        """POST; the body of the expected answer."""
        answer = self.call("POST", path, body)
        assert answer.status == expect, answer
        return answer.body

    def stubborn(self, method: str, path: str, body: Any = None, timeout_s: float = 60) -> Answer:
        """Send a request until somebody answers, with one idempotency key, as good clients do."""
        key = str(uuid.uuid4()) if method == "POST" else ""
        end = time.monotonic() + timeout_s
        while True:
            try:
                answer = self.call(method, path, body, key)
                if answer.status < 500 and not (
                    answer.status == 409
                    and isinstance(answer.body, dict)
                    and answer.body.get("code") == "idempotency_key_in_use"
                ):
                    return answer
                problem = str(answer)
            except OSError as error:
                problem = str(error)
            assert time.monotonic() < end, f"{method} {path}: {problem}"
            time.sleep(0.5)

    def settled(self, vm_id: str, timeout_s: float = 120) -> dict[str, Any]:
        """Wait until nothing is being done to a VM; return it. Outages meanwhile are normal."""
        end = time.monotonic() + timeout_s
        while True:
            answer = self.stubborn("GET", f"/vms/{vm_id}")
            if answer.status == 200 and not answer.body["task"]:
                found: dict[str, Any] = answer.body
                return found
            if answer.status == 404:
                return {"id": vm_id, "status": "destroyed", "task": None, "failure": None}
            assert time.monotonic() < end, answer
            time.sleep(0.3)

    def order(self, *, distribution: str = "mini", **changes: Any) -> dict[str, Any]:
        """Return a small order of the base image of a distribution."""
        image = next(
            one for one in self.get("/images")["results"] if one["distribution"] == distribution
        )
        subnet = self.get("/subnets")["results"][0]
        group = self.get("/security-groups")["results"][0]
        return {
            "region": image["region_id"],
            "cluster": "x86",
            "image": image["id"],
            "vcpus": 1,
            "memory_mib": 256,
            "system_disk_type": "ssd",
            "system_disk_gib": 40,
            "subnet": subnet["id"],
            "internal_security_group": group["id"],
            "name": "web",
            "password": "Passw0rd!x",
            **changes,
        }

    def buy(self, **changes: Any) -> dict[str, Any]:
        """Quote and buy one VM; return it as it is right after the purchase."""
        order = self.order(**changes)
        quote = self.stubborn("POST", "/vms/quote", order)
        assert quote.status == 200, quote
        bought = self.stubborn("POST", "/vms", {**order, "quote_token": quote.body["token"]})
        assert bought.status == 201, bought
        vm: dict[str, Any] = bought.body[0]
        return vm

    def destroy(self, vm_id: str) -> None:
        """Delete and destroy a VM, and wait for both."""
        vm = self.settled(vm_id)
        if vm["status"] != "binned" and vm["status"] != "destroyed":
            self.stubborn("DELETE", f"/vms/{vm_id}")
            vm = self.settled(vm_id)
        if vm["status"] == "binned":
            self.stubborn("POST", f"/vms/{vm_id}/destroy", {})
            self.settled(vm_id)
