"""Stands in for the process that asks Ceph: one that is ended as its library would end it."""

import json
import os
import signal
import sys
from pathlib import Path


def main() -> None:
    """Count the call in a file; abort as often as is asked for, before or after a confirmation."""
    words = json.loads(sys.stdin.readline())["words"]
    calls = Path(words["calls"])
    made = len(calls.read_text()) if calls.exists() else 0
    calls.write_text("x" * (made + 1))
    if words["confirms"]:
        print(json.dumps({"confirm": True}), flush=True)
        sys.stdin.readline()
    if made < words["aborts"]:
        os.kill(os.getpid(), words.get("signal", signal.SIGABRT))
    print(json.dumps({"ok": made}), flush=True)


if __name__ == "__main__":
    main()
