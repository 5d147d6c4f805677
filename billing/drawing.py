"""Draws a PDF: a program of its own, so that a page that is hard to set stops nobody else.

HTML comes on standard input, the PDF goes to standard output; the one argument is the file of the
style sheet. What it may use is bounded here, how long it may take by the caller, see
:mod:`billing.pdf`. Nothing is fetched, wherever an address points.
"""

from __future__ import annotations

import resource
import sys
from pathlib import Path
from typing import Final

MEMORY_BYTES: Final = 2 * 1024**3
PROCESSOR_S: Final = 30


def main() -> None:
    """Draw. Ends with a traceback where it cannot."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (PROCESSOR_S, PROCESSOR_S))
    # Takes a second, and no other process needs it.
    import weasyprint
    from weasyprint.urls import FatalURLFetchingError, URLFetcher

    class Nothing(URLFetcher):
        """Refuses every address, so that a template with one shows in its first test."""

        def fetch(self, url: str, headers: object = None) -> object:
            raise FatalURLFetchingError(f"a statement needs nothing from {url[:100]}")

    nothing = Nothing()
    style = weasyprint.CSS(string=Path(sys.argv[1]).read_text(), url_fetcher=nothing)
    sheet = weasyprint.HTML(string=sys.stdin.buffer.read().decode(), url_fetcher=nothing)
    sys.stdout.buffer.write(sheet.write_pdf(stylesheets=[style]))


if __name__ == "__main__":
    main()
