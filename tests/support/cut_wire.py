"""A wire to a server that a test can cut: connections stay open, and nothing comes through in either direction.

As when a switch fails: no end of file and no reset tells either side, and what was locked at the server stays locked.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_CHUNK = 1 << 16


class Wire:
    """`port` of this machine leads to the server's `address`: a path of a Unix socket, or (host, port)."""

    def __init__(self, address: str | tuple[str, int], port: int = 0) -> None:
        self._address, self._open, self._ends = address, threading.Event(), threading.Event()
        self._open.set()
        self._cuts_at = b""
        self._listener = socket.create_server(("127.0.0.1", port))
        self.port: int = self._listener.getsockname()[1]
        self._sockets = {self._listener}
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def is_cut(self) -> bool:
        return not self._open.is_set()

    def cut(self) -> None:
        self._open.clear()

    def cut_after(self, words: bytes) -> None:
        """Cut as soon as a client has said that: the server hears it, and its answer goes nowhere."""
        self._cuts_at = words

    def mend(self) -> None:
        """What was under way arrives now, late."""
        self._cuts_at = b""
        self._open.set()

    def close(self) -> None:
        self._ends.set()
        self._open.set()
        for one in set(self._sockets):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        while not self._ends.is_set():
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        """Connect a client to the server until both have ended; one whom the server refuses is hung up on."""
        self._open.wait()
        server = socket.socket(socket.AF_UNIX if isinstance(self._address, str) else socket.AF_INET)
        self._sockets |= {client, server}
        try:
            server.connect(self._address)
            back = threading.Thread(target=self._forward, args=(server, client, False), daemon=True)
            back.start()
            self._forward(client, server, True)
            back.join()
        except OSError:
            pass
        finally:
            self._sockets -= {client, server}
            client.close()
            server.close()

    def _forward(self, source: socket.socket, target: socket.socket, is_client: bool) -> None:
        with suppress(OSError):
            while data := source.recv(_CHUNK):
                self._open.wait()
                is_last = is_client and self._cuts_at and self._cuts_at in data
                if is_last:
                    self.cut()
                target.sendall(data)
            self._open.wait()
        with suppress(OSError):
            target.shutdown(socket.SHUT_WR)


@contextmanager
def wire_to(address: str | tuple[str, int]) -> Iterator[Wire]:
    wire = Wire(address)
    try:
        yield wire
    finally:
        wire.close()
