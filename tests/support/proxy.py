"""A TCP proxy between a test and its server, so that connections break the ways they do in the
field."""

from __future__ import annotations

import select
import socket
import struct
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

from sqlalchemy import URL


class Proxy:
    """Forwards every connection to the server of ``target``, until a method says otherwise. It may be
    a web server, whose URL begins with http.

    - :meth:`cut` closes what is open (new connections work); :meth:`refuse` lets no new one through
        until :meth:`accept`.
    - :meth:`stall` stops forwarding without closing anything, as a half-open connection does, until
        :meth:`flow`.
    - :meth:`hold_ends` does not pass on that one side has closed its connection, until
        :meth:`flow`.
    - ``censor_notifications = True`` swallows NotificationResponse, as a transaction pooler does.
    """

    def __init__(self, target: URL) -> None:
        self._target = target
        self._server = socket.create_server(("127.0.0.1", 0))
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._lock = threading.Lock()
        self._flowing = threading.Event()
        self._flowing.set()
        self._ending = threading.Event()
        self._ending.set()
        self._refusing = False
        self.censor_notifications = False
        self.connections = 0
        """How many connections have come."""

    @property
    def url(self) -> URL:
        query = {
            key: value for key, value in self._target.query.items() if key not in {"host", "port"}
        }
        query |= {"sslmode": "disable", "gssencmode": "disable"}  # so that the bytes can be read
        return self._target.set(host="127.0.0.1", port=self._server.getsockname()[1], query=query)

    def _connect(self) -> socket.socket:
        host = self._target.host or str(self._target.query.get("host", "localhost"))
        port = self._target.port or self._target.query.get("port", 5432)
        if host.startswith("/"):
            upstream = socket.socket(socket.AF_UNIX)
            try:
                upstream.connect(str(Path(host) / f".s.PGSQL.{port}"))
            except OSError:
                upstream.close()
                raise
            return upstream
        return socket.create_connection((host, port))

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept_loop, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.close()
        self.flow()
        self.cut()

    def _accept_loop(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            self.connections += 1
            if self._refusing:
                client.close()
                continue
            try:
                pair = (client, self._connect())
            except OSError:  # the server is down
                client.close()
                continue
            with self._lock:
                self._pairs.append(pair)
            threading.Thread(target=self._forward, args=pair, daemon=True).start()
            threading.Thread(target=self._forward_answers, args=pair, daemon=True).start()

    def _forward(self, client: socket.socket, upstream: socket.socket) -> None:
        self._pump(client, upstream, lambda data: data)

    def _forward_answers(self, client: socket.socket, upstream: socket.socket) -> None:
        if self._target.drivername == "http":
            return self._pump(upstream, client, lambda data: data)
        censor = _Censor()
        return self._pump(
            upstream, client, lambda data: censor.feed(data, drop=self.censor_notifications)
        )

    def _pump(self, source: socket.socket, target: socket.socket, change) -> None:
        try:
            while True:
                select.select([source], [], [])
                self._flowing.wait()
                data = source.recv(65536)
                if not data:
                    self._ending.wait()
                    break
                target.sendall(change(data))
        except (OSError, ValueError):
            pass  # the connection was cut
        finally:
            _close(source, target)

    def cut(self) -> None:
        """Close every open connection at once, with a reset."""
        with self._lock:
            pairs, self._pairs = self._pairs, []
        for pair in pairs:
            _close(*pair)

    def lead_to(self, target: URL) -> None:
        """Forward new connections to another server, as after a failover."""
        self._target = target

    def refuse(self) -> None:
        """Close new connections as they come."""
        self._refusing = True

    def accept(self) -> None:
        self._refusing = False

    def stall(self) -> None:
        """Forward nothing, in either direction, while every socket stays open."""
        self._flowing.clear()

    def hold_ends(self) -> None:
        self._ending.clear()

    def flow(self) -> None:
        self._flowing.set()
        self._ending.set()


def _close(*ends: socket.socket) -> None:
    for end in ends:
        try:
            # close() alone would wait for the thread that selects on it
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # closed already
        end.close()


class _Censor:
    """Takes the server's bytes apart into protocol messages, to drop those of type 'A'
    (NotificationResponse)."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes, *, drop: bool) -> bytes:
        data = self._rest + data
        out = b""
        while len(data) >= 5:
            size = 1 + struct.unpack("!I", data[1:5])[0]
            if len(data) < size:
                break
            if not (drop and data[:1] == b"A"):
                out += data[:size]
            data = data[size:]
        self._rest = data
        return out
