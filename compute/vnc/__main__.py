"""The VNC processes: ``python -m compute.vnc proxy`` and ``python -m compute.vnc gateway``."""

import argparse
import os
import sys

from compute.vnc import server


def main() -> int:
    """Run one of the processes until SIGTERM."""
    parser = argparse.ArgumentParser(prog="compute.vnc", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    proxy = commands.add_parser("proxy", help="screens for browsers, over websockets")
    proxy.add_argument(
        "--listen",
        default=os.environ.get("SCLOUD_VNC_LISTEN", "127.0.0.1:8001"),
        metavar="ADDRESS:PORT",
    )
    commands.add_parser("gateway", help="screens for VNC clients, over ports leased for minutes")
    arguments = parser.parse_args()

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "scloud.settings")
    if arguments.command == "proxy":
        server.with_malloc_environment()
    import django

    django.setup()
    if arguments.command == "proxy":
        from compute.vnc.asgi import Application

        address, _, port = arguments.listen.rpartition(":")
        server.run(Application(), server.listening_socket(address.strip("[]"), int(port)))
        return 0

    from compute.vnc.gateway import run

    return run()


if __name__ == "__main__":
    sys.exit(main())
