"""A transaction pooler between a test and its server: a server session serves a client for one
transaction, then the next one in turn."""

from __future__ import annotations

import socket
import struct
import threading
from collections import deque
from typing import Self

from proxy import Proxy
from sqlalchemy import URL


class Pooler(Proxy):
    """Keeps some sessions, which it opens as its first client asks for, and gives them out in turn,
    by transaction.

    It understands the simple query protocol, and passes no notification on. What is done in a
    session stays there.
    """

    def __init__(self, target: URL, sessions: int = 3) -> None:
        super().__init__(target)
        self._free: deque[socket.socket] = deque()
        self._left = sessions  # to be opened
        self._greeting = b""
        self._starting = threading.Lock()
        self._changed = threading.Condition()

    def __enter__(self) -> Self:
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.close()
        for session in list(self._free):
            session.close()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._work_for, args=(client,), daemon=True).start()

    def _work_for(self, client: socket.socket) -> None:
        try:
            (size,) = struct.unpack("!I", _exactly(client, 4))
            startup = struct.pack("!I", size) + _exactly(client, size - 4)
            with self._starting:
                while self._left:
                    self._left -= 1
                    session = self._connect()
                    session.sendall(startup)
                    self._greeting = b"".join(self._until_ready(session))
                    self._give_back(session)
            client.sendall(self._greeting)
            while True:
                kind, message = _message(client)
                if kind == b"X":
                    return
                session = self._take()
                status = b"T"
                while status != b"I":
                    session.sendall(message)
                    answers = self._until_ready(session)
                    client.sendall(b"".join(answers))
                    status = answers[-1][-1:]
                    if status != b"I":
                        kind, message = _message(client)
                self._give_back(session)
        except OSError:
            pass  # the client has gone
        finally:
            client.close()

    @staticmethod
    def _until_ready(session: socket.socket) -> list[bytes]:
        """The server's messages up to ReadyForQuery, without notifications."""
        answers = []
        while not answers or answers[-1][:1] != b"Z":
            kind, message = _message(session)
            if kind != b"A":
                answers.append(message)
        return answers

    def _take(self) -> socket.socket:
        with self._changed:
            while not self._free:
                self._changed.wait()
            return self._free.popleft()

    def _give_back(self, session: socket.socket) -> None:
        with self._changed:
            self._free.append(session)
            self._changed.notify()


def _exactly(source: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = source.recv(size - len(data))
        if not more:
            raise OSError("closed")
        data += more
    return data


def _message(source: socket.socket) -> tuple[bytes, bytes]:
    head = _exactly(source, 5)
    return head[:1], head + _exactly(source, struct.unpack("!I", head[1:])[0] - 4)
