"""Statements as PDF, drawn by a child process with a time and a size that it may take."""

import logging
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Final

from django.conf import settings
from django.template.loader import render_to_string
from django.utils.translation import get_language
from django.utils.translation import gettext as _

from billing import printing
from billing.statements import Paper
from scloud.lib.errors import TooManyRequests, Unavailable

logger = logging.getLogger(__name__)

CONTENT_TYPE: Final = "application/pdf"
LIMIT_S: Final = 30
# Drawing is work for the processor: more at once would only slow the pages down.
AT_ONCE: Final = 2
WAIT_S: Final = 10
_PROGRAM: Final = Path(__file__).with_name("drawing.py")
_KEPT_BYTES: Final = 2000
_turns = threading.BoundedSemaphore(AT_ONCE)


def file_name(paper: Paper) -> str:
    """Such as ``statement-2026-10-0001.pdf``."""
    statement = paper.statement
    return f"statement-{statement.number or statement.month_text}.pdf"


def drawn(paper: Paper) -> bytes:
    """The PDF of a statement, in the language that is active.

    Raises TooManyRequests (``pdf_busy``) and Unavailable (``pdf_failed``).
    """
    html = render_to_string(
        "billing/statement_pdf.html",
        {**printing.shown(paper), "on_paper": True, "language": get_language()},
    )
    if not _turns.acquire(timeout=WAIT_S):
        raise TooManyRequests(
            _("Other statements are being made as PDF."),
            code="pdf_busy",
            remedy=_("Try again in a moment."),
        )
    try:
        return _draw(html)
    finally:
        _turns.release()


def _draw(html: str) -> bytes:
    style = Path(settings.BASE_DIR) / "static/css/billing/paper.css"
    # Without the environment of this process, which holds its secrets.
    environment = {"PATH": os.defpath, "LANG": "C.UTF-8", "HOME": os.environ.get("HOME", "/")}
    try:
        ended = subprocess.run(
            [sys.executable, "-I", str(_PROGRAM), str(style)],
            input=html.encode(),
            capture_output=True,
            timeout=LIMIT_S,
            env=environment,
            cwd="/",
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        logger.error("a statement could not be drawn: %r", error)
        raise _failed() from error
    if ended.returncode or not ended.stdout.startswith(b"%PDF"):
        said = ended.stderr[-_KEPT_BYTES:].decode(errors="replace")
        logger.error("a statement could not be drawn, code %d: %s", ended.returncode, said)
        raise _failed()
    return ended.stdout


def _failed() -> Unavailable:
    return Unavailable(
        _("The PDF could not be made."),
        code="pdf_failed",
        remedy=_("Print the page, or try again in a moment."),
    )
