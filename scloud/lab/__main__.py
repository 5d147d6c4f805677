"""``python -m scloud.lab``: see ``--help``."""

from __future__ import annotations

import argparse
import json
import sys

from scloud.lab import images, postgres, probe, region
from scloud.lab.plan import Lab, LabError, lab_named


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m scloud.lab", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    which = argparse.ArgumentParser(add_help=False)
    which.add_argument("--name", default="demo", help="lab (default demo)")
    which.add_argument("--index", type=int, help="network number of a new lab, 1 to 63")

    up = verbs.add_parser("up", parents=[which], help="bring a lab up")
    up.add_argument("--hosts", type=int, help="number of hosts (default 2)")
    up.add_argument(
        "--storage",
        choices=["directory", "ceph"],
        help="ceph: a one-node cluster beside the shared directory (default: as it was last)",
    )
    up.add_argument("--fresh", action="store_true", help="forget the state of earlier runs")
    down = verbs.add_parser("down", parents=[which], help="take a lab down")
    down.add_argument("--wipe", action="store_true", help="delete its state too")
    status = verbs.add_parser("status", parents=[which], help="tell what is there")
    status.add_argument("--json", action="store_true", help="as JSON")

    power = verbs.add_parser("power", parents=[which], help="switch a host off or on")
    power.add_argument("power_verb", choices=["off", "on", "status"])
    power.add_argument("host", help="host, such as h1")

    probe_verbs = verbs.add_parser("probe", help="stand on a logical switch").add_subparsers(
        dest="probe_verb", required=True
    )
    which_probe = argparse.ArgumentParser(add_help=False)
    which_probe.add_argument("--lab", default="demo", help="lab (default demo)")
    which_probe.add_argument("--name", required=True, help="probe, 1 to 8 characters")
    add = probe_verbs.add_parser("add", parents=[which_probe], help="plug a namespace in")
    add.add_argument("--port", required=True, help="logical switch port")
    add.add_argument("--mac", required=True)
    add.add_argument("--ip", required=True, action="append", help="address/length, repeatable")
    add.add_argument("--gateway", action="append", help="default gateway, repeatable")
    add.add_argument("--host", default="h1", help="host whose switch to use (default h1)")
    probe_verbs.add_parser("del", parents=[which_probe], help="unplug and delete it")

    pg = verbs.add_parser("pg", help="the private PostgreSQL")
    pg.add_argument("pg_verb", choices=["up", "down", "kill", "wipe", "url"])
    pg.add_argument("--port", type=int, default=postgres.DEFAULT_PORT)
    pg.add_argument("--no-fsync", action="store_true", help="for tests: fast, lost with the power")

    build = verbs.add_parser("images", help="build guest images that are missing")
    build.add_argument("image", nargs="*", help="default: all")
    return parser


def _show(lab: Lab) -> None:
    facts = region.status(lab)
    print(f"lab {facts['name']} (index {facts['index']}): {'up' if facts['up'] else 'down'}")
    for host in facts["hosts"]:
        print(f"  {host['name']:4} {'up' if host['up'] else 'down':5} {host['uri']}")
    print(f"  OVN  {facts['ovn']['nb']}")
    print(f"  storage  {facts['storage']['path']}")
    if (cluster := facts["storage"]["ceph"]) is not None:
        state = "up" if cluster["up"] else "down"
        print(f"  Ceph     {state} {cluster['monitors']} pool {cluster['pool']}")
    external = facts["external"]
    ranges = " ".join(segment["cidr"] for segment in external["segments"])
    print(f"  external {ranges} on {external['bridge']}")
    for name, path in facts["images"].items():
        print(f"  image {name}: {path or 'not built'}")


def _postgres(options: argparse.Namespace) -> None:
    cluster = postgres.Cluster(port=options.port, fsync=not options.no_fsync)
    match options.pg_verb:
        case "up":
            cluster.up()
        case "down":
            cluster.down()
        case "kill":
            cluster.kill()
        case "wipe":
            cluster.wipe()
        case _:
            print(cluster.url)


def _probe(options: argparse.Namespace) -> None:
    lab = lab_named(options.lab)
    if options.probe_verb == "del":
        probe.delete(lab, name=options.name)
        return
    added = probe.add(
        lab,
        name=options.name,
        port=options.port,
        mac=options.mac,
        ip=options.ip,
        gateway=options.gateway,
        host=options.host,
    )
    print(f"ip netns exec {added.netns} sh")


def _power(lab: Lab, host_name: str, verb: str) -> None:
    host = lab.host(host_name)
    if verb == "off":
        region.power_off(host)
    elif verb == "on":
        region.power_on(host)
    print("on" if region.is_on(host) else "off")


def main(words: list[str] | None = None) -> int:
    """Run one verb; 0 when it worked, 1 with the reason on standard error when not."""
    options = _parser().parse_args(words)
    try:
        if options.verb == "images":
            for name in options.image or ["mini", "debian"]:
                print(images.ensure(name))
            return 0
        if options.verb == "pg":
            _postgres(options)
            return 0
        if options.verb == "probe":
            _probe(options)
            return 0
        hosts = options.hosts if options.verb == "up" else None
        storage = options.storage if options.verb == "up" else None
        with_ceph = None if storage is None else storage == "ceph"
        lab = lab_named(options.name, options.index, hosts, with_ceph)
        if options.verb == "up":
            region.up(lab, fresh=options.fresh)
        elif options.verb == "down":
            region.down(lab, wipe=options.wipe)
        elif options.verb == "power":
            _power(lab, options.host, options.power_verb)
        elif options.json:
            print(json.dumps(region.status(lab), indent=2))
        else:
            _show(lab)
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
