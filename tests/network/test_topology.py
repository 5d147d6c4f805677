"""The picture of a region's network."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from xml.etree import ElementTree

import pytest
from django.test import Client
from django.urls import reverse

from network.actions import Defaults, NicRequest, create_nics, create_subnet, create_vpc
from network.queries.topology import topology
from network.views.drawing import (
    Box,
    Part,
    Picture,
    Thing,
    cut,
    picture,
)
from network.views.topology import NARROW, WIDE
from scloud.resources.models import Region
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import Tenant, User
from scloud.tenancy.scoping import scope

SVG = "{http://www.w3.org/2000/svg}"


def vms(count: int) -> list[Thing]:
    return [
        Thing(f"/vms/{n}/", f"VM host-{n}", f"host-{n}", f"10.0.0.{n}", "default", n % 2 == 0)
        for n in range(count)
    ]


def a_vpc(*counts: int) -> Part:
    subnets = [
        Part(f"/s{n}/", f"Subnet {n}", f"subnet {n}", "10.0.0.0/24", vms(count))
        for n, count in enumerate(counts)
    ]
    return Part("/v/", "VPC office", "office", "10.0.0.0/16", parts=subnets)


def inside(outer: Box | Picture, inner: Box) -> bool:
    x, y = (outer.x, outer.y) if isinstance(outer, Box) else (0, 0)
    return (
        x <= inner.x
        and y <= inner.y
        and inner.x + inner.width <= x + outer.width
        and inner.y + inner.height <= y + outer.height
    )


@pytest.mark.parametrize("width", [WIDE, NARROW])
@pytest.mark.parametrize("counts", [(), (0,), (1, 5), (200,), (61, 60, 0, 3)])
def test_nothing_lies_on_anything_else_or_outside_of_what_it_is_in(
    width: int, counts: tuple[int, ...]
) -> None:
    drawn = picture([a_vpc(*counts), a_vpc(2)], width)
    assert drawn.width == width
    for vpc in drawn.boxes:
        assert inside(drawn, vpc)
        for subnet in vpc.boxes:
            assert inside(vpc, subnet)
            places = [(t.x, t.y, t.x + t.width, t.y + t.height) for t in subnet.tiles]
            for left, top, right, bottom in places:
                assert subnet.x < left
                assert right < subnet.x + subnet.width
                assert subnet.y < top
                assert bottom < subnet.bottom
            for one, other in combinations(places, 2):
                assert (
                    one[2] < other[0] or other[2] < one[0] or one[3] < other[1] or other[3] < one[1]
                )
        for above, below in combinations(vpc.boxes, 2):
            assert above.bottom < below.y
    assert [len(subnet.tiles) for subnet in drawn.boxes[0].boxes] == list(counts)


@pytest.mark.parametrize(
    ("text", "most", "shown"),
    [("short", 5, "short"), ("longer", 5, "long…"), ("中文名字很长", 6, "中文…"), ("", 3, "")],
)
def test_a_text_is_cut_to_what_fits(text: str, most: int, shown: str) -> None:
    assert cut(text, most) == shown


@pytest.fixture
def office(actor: Actor, defaults: Defaults, region: Region, scoped: object) -> Defaults:
    """Two VPCs; in the default one 200 VMs, one of them in the default group."""
    assert defaults.subnet is not None
    requests = [NicRequest(vm_id=f"vm-{n:03}") for n in range(199)]
    requests.append(NicRequest(vm_id="vm-last", security_group=defaults.security_group))
    create_nics(subnet=defaults.subnet, requests=requests)
    vpc = create_vpc(actor=actor, region=region, name="empty", cidr="10.9.0.0/16")
    create_subnet(actor=actor, vpc=vpc, name="nobody", cidr="10.9.0.0/24")
    return defaults


@pytest.mark.django_db
def test_the_page_shows_two_hundred_vms_each_with_a_link_and_a_name(
    console: Client, office: Defaults
) -> None:
    page = console.get(reverse("network-topology")).content.decode()
    assert "2 VPCs · 2 subnets · 200 VMs · 199 not filtered" in page
    drawings = page.split('<svg class="topology-svg"')[1:]
    assert len(drawings) == 2
    for one in drawings:
        text = '<svg xmlns="http://www.w3.org/2000/svg"' + one[: one.index("</svg>")] + "</svg>"
        root = ElementTree.fromstring(text)
        links = {
            link.get("href"): link.findtext(f"{SVG}title") or "" for link in root.iter(f"{SVG}a")
        }
        assert links[reverse("vm-detail", args=["vm-007"])] == "VM vm-007, 10.0.0.9, not filtered"
        last = links[reverse("vm-detail", args=["vm-last"])]
        assert last == "VM vm-last, 10.0.0.201, security group default"
        assert links[reverse("vpc-detail", args=[office.vpc.pk])] == "VPC default, 10.0.0.0/16"
        assert "VPC empty, 10.9.0.0/16" in links.values()
        assert len(links) == 2 + 2 + 200
        # A strict policy lets no style of an element's own through.
        assert not [one for one in root.iter() if one.get("style")]
    one_vpc = console.get(reverse("network-topology"), {"vpc": office.vpc.pk}).content.decode()
    assert "1 VPC · 1 subnet · 200 VMs" in one_vpc


@pytest.mark.django_db
def test_what_is_too_much_is_counted(office: Defaults, region: Region) -> None:
    with scope(tenant=office.vpc.tenant):
        nodes = topology(region, most=150)
    assert [(len(one.nics), one.more) for node in nodes for one in node.subnets] == [
        (150, 50),
        (0, 0),
    ]


@pytest.mark.django_db
def test_another_tenants_vpc_is_unknown_and_a_new_tenant_is_led_on(
    office: Defaults, other_tenant: Tenant, make_user: Callable[..., User]
) -> None:
    stranger = Client()
    stranger.force_login(make_user(other_tenant))
    answer = stranger.get(reverse("network-topology"), {"vpc": office.vpc.pk})
    assert answer.status_code == 404
    page = stranger.get(reverse("network-topology")).content.decode()
    assert "No VPC yet" in page
    assert "vm-last" not in page
