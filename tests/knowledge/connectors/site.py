"""A web server of the tests' own, for each byte of which a test may decide."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from baigong.knowledge.connectors.source import Content, Gone, Source
from baigong.knowledge.formats import Unreadable

Answer = Callable[[BaseHTTPRequestHandler], None]
HOST = "127.0.0.1"


@dataclass
class WebSite:
    """Answers by path; what was asked is kept with its headers."""

    answers: dict[str, Answer] = field(default_factory=dict)
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    url: str = ""

    @property
    def paths(self) -> list[str]:
        return [path for path, _ in self.asked]

    def put(
        self,
        path: str,
        body: bytes | str = b"",
        kind: str = "text/html",
        status: int = 200,
        **headers: str,
    ) -> None:
        """Answer with this; with an ETag or a date, only to who does not have it yet."""
        data = body.encode() if isinstance(body, str) else body
        told = {name.replace("_", "-"): value for name, value in headers.items()}

        def answer(handler: BaseHTTPRequestHandler) -> None:
            asked = handler.headers
            is_same = ("ETag" in told and asked["If-None-Match"] == told["ETag"]) or (
                "Last-Modified" in told and asked["If-Modified-Since"] == told["Last-Modified"]
            )
            handler.send_response(304 if is_same else status)
            handler.send_header("Content-Type", kind)
            handler.send_header("Content-Length", "0" if is_same else str(len(data)))
            for name, value in told.items():
                handler.send_header(name, value)
            handler.end_headers()
            if not is_same:
                handler.wfile.write(data)

        self.answers[path] = answer

    @contextmanager
    def open(self, tls: ssl.SSLContext | None = None) -> Iterator[WebSite]:
        site = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                site.asked.append((self.path, dict(self.headers)))
                answer = site.answers.get(self.path)
                try:
                    if answer is None:
                        self.send_response(404)
                        self.send_header("Content-Length", "0")
                        self.end_headers()
                    else:
                        answer(self)
                except OSError:  # the other end hung up
                    self.close_connection = True

            do_POST = do_GET

            def log_message(self, format: str, *args: object) -> None:
                pass

        server = ThreadingHTTPServer((HOST, 0), Handler)
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        self.url = f"http://{HOST}:{server.server_port}"
        try:
            yield self
        finally:
            server.shutdown()
            thread.join()
            server.server_close()


@dataclass
class Reader:
    """Reads a source as a knowledge base does: again only what its stamps do not vouch for."""

    stamps: dict[str, str | None] = field(default_factory=dict)
    documents: dict[str, Content] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)

    def look(self, source: Source) -> list[str]:
        """The documents that came or changed; `problems` says what could not be read."""
        listing = source.list()
        self.problems = {problem.file: problem.message for problem in listing.problems}
        read = []
        for entry in listing.entries:
            known = self.stamps.get(entry.path)
            if known is not None and known == entry.stamp:
                continue
            try:
                content = source.read(entry, known)
            except Gone:
                self._forget(source, entry.path)
                continue
            except Unreadable as error:
                self.problems[entry.path] = str(error)
                continue
            if content is None:
                self.stamps[entry.path] = entry.stamp or known
                continue
            self.stamps[entry.path] = content.stamp
            self.documents[entry.path] = content
            read.append(entry.path)
        listed = {entry.path for entry in listing.entries}
        for path in set(self.documents) - listed:
            self._forget(source, path)
        return read

    def _forget(self, source: Source, path: str) -> None:
        if source.forgets:
            self.stamps.pop(path, None)
            self.documents.pop(path, None)
