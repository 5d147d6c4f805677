"""The console's server: ``python -m scloud.serve --listen ADDRESS:PORT``.

uvicorn hands a request to the application as soon as its headers are there and reads the body only
as fast as the application takes it, so that the application decides what is worth reading.
"""

import argparse
import os
from typing import Any, Final

import uvicorn

# Pages send nothing over their websocket; a frame above this closes it.
MAX_MESSAGE_BYTES: Final = 4096
PING_INTERVAL_S: Final = 20.0
PING_TIMEOUT_S: Final = 40.0


def make_server(app: Any, address: str, port: int) -> uvicorn.Server:
    return uvicorn.Server(
        uvicorn.Config(
            app,
            host=address,
            port=port,
            loop="uvloop",
            http="h11",
            ws="websockets-sansio",
            ws_max_size=MAX_MESSAGE_BYTES,
            ws_per_message_deflate=False,
            ws_ping_interval=PING_INTERVAL_S,
            ws_ping_timeout=PING_TIMEOUT_S,
            lifespan="off",
            # Who may say where a request came from is decided in scloud/tenancy/clientip.py.
            proxy_headers=False,
            log_level="warning",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=5,
        )
    )


def refuse_bad_settings() -> None:
    """End the process, saying why, where settings would make the console unsafe."""
    from django.core import checks

    found = [one for one in checks.run_checks() if one.is_serious()]
    if found:
        raise SystemExit("\n".join(f"scloud: {one.msg} {one.hint or ''}" for one in found))


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="scloud.serve", description=__doc__)
    parser.add_argument(
        "--listen",
        default=os.environ.get("SCLOUD_LISTEN", "127.0.0.1:8000"),
        metavar="ADDRESS:PORT",
    )
    address, _, port = parser.parse_args().listen.rpartition(":")

    from scloud.asgi import application

    refuse_bad_settings()
    make_server(application, address.strip("[]"), int(port)).run()


if __name__ == "__main__":
    main()
