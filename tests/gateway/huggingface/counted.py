"""A way to a server that counts what clients send on it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit


class Counted:
    """Listens on this machine and passes everything on; `sent` counts bytes of clients."""

    def __init__(self, url: str) -> None:
        self.sent = 0
        self._target = urlsplit(url)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=[client], daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        target = (self._target.hostname or "", self._target.port or 80)
        with client, suppress(OSError), socket.create_connection(target) as server:
            back = threading.Thread(target=_pass, args=[server, client], daemon=True)
            back.start()
            for piece in iter(lambda: client.recv(1 << 18), b""):
                self.sent += len(piece)
                server.sendall(piece)
            server.shutdown(socket.SHUT_WR)
            back.join()


def _pass(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        for piece in iter(lambda: source.recv(1 << 18), b""):
            target.sendall(piece)
        target.shutdown(socket.SHUT_WR)


@contextmanager
def counted(url: str) -> Iterator[Counted]:
    way = Counted(url)
    try:
        yield way
    finally:
        way.close()
