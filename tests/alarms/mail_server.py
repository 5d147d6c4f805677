"""A mail server on this machine."""

from __future__ import annotations

import threading
from email import message_from_bytes, policy
from email.message import EmailMessage
from socketserver import StreamRequestHandler, ThreadingTCPServer


class MailServer:
    """Keeps what it is handed (SMTP, RFC 5321)."""

    def __init__(self) -> None:
        self.letters: list[EmailMessage] = []
        letters = self.letters

        class Handler(StreamRequestHandler):
            def say(self, line: str) -> None:
                self.wfile.write(f"{line}\r\n".encode())

            def handle(self) -> None:
                self.say("220 mail.test ESMTP")
                while line := self.rfile.readline():
                    verb = line.decode().strip()[:4].upper()
                    if verb == "DATA":
                        self.say("354 Go on")
                        letters.append(self.letter())
                    elif verb == "QUIT":
                        self.say("221 Bye")
                        return
                    elif verb not in {"EHLO", "MAIL", "RCPT"}:
                        self.say("502 Not here")
                        continue
                    self.say("250 Ok")

            def letter(self) -> EmailMessage:
                lines = []
                while (line := self.rfile.readline()) not in {b".\r\n", b""}:
                    lines.append(line.removeprefix(b"."))
                return message_from_bytes(b"".join(lines), policy=policy.default)

        self.server = ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = int(self.server.server_address[1])
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
