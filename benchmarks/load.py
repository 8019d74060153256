"""Load a server: one request at a time against many clients, then bad clients, then the signal that ends it.

python -m benchmarks.load RUN --requests 256 --clients 64 --soak 2000 --out docs/serving.json
"""

import argparse
import asyncio
import json
import os
import platform
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

import predgen

GOAL = 4.0
"""Throughput of many clients, at least this many times that of one request at a time."""
_WORDS = (
    "the room was warm dull good wine long road no tea old song and a film with play evening but very quiet".split()
)
_BIG = 2_000_000  # bytes, above the server's default of a body
_WAIT_S = 120.0


@dataclass
class Tally:
    """What came back.

    Attributes:
        seconds: Of each good answer, from request to its last byte.
        outcomes: Kind of client and what it got -> how often.
    """

    seconds: list[float] = field(default_factory=list)
    outcomes: Counter[str] = field(default_factory=Counter)


class Connection:
    """One connection of a client, kept open from request to request."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def post(self, body: bytes, *, length: int | None = None) -> tuple[int, bytes]:
        """Send a body to `/predict`; returns status and answer."""
        reader, _ = await self.send(body, length=length)
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), _WAIT_S)
        found = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
        answer = await asyncio.wait_for(reader.readexactly(int(found[1]) if found else 0), _WAIT_S)
        if b"connection: close" in head.lower():
            await self.close()
        return int(head.split(b" ", 2)[1]), answer

    async def send(
        self, body: bytes, *, length: int | None = None
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Send a request and wait for nothing."""
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self.port)
        reader, writer = self._streams
        head = "POST /predict HTTP/1.1\r\nHost: load\r\nContent-Type: application/json\r\n"
        writer.write(f"{head}Content-Length: {len(body) if length is None else length}\r\n\r\n".encode() + body)
        await writer.drain()
        return reader, writer

    async def close(self) -> None:
        """Close it, whatever was on its way."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


def body_of(number: int) -> bytes:
    """A request with one row, which no other has."""
    rng = random.Random(number)
    text = " ".join(rng.choice(_WORDS) for _ in range(rng.randint(10, 30)))
    return json.dumps({"rows": [f"{number}: {text}"]}).encode()


async def good(connection: Connection, number: int, tally: Tally) -> None:
    """Ask and wait."""
    start = time.perf_counter()
    status, answer = await connection.post(body_of(number))
    if status == 200:
        assert len(json.loads(answer)["predictions"]) == 1
        tally.seconds.append(time.perf_counter() - start)
    tally.outcomes[f"good: {status}"] += 1


async def vanishing(connection: Connection, number: int, tally: Tally) -> None:
    """Ask and go, before or while the answer is made."""
    await connection.send(body_of(number))
    await asyncio.sleep(random.Random(number).random() * 0.05)
    await connection.close()
    tally.outcomes["vanishing: gone"] += 1


async def slow_reader(connection: Connection, number: int, tally: Tally) -> None:
    """Ask, and read the answer byte by byte after a while."""
    reader, _ = await connection.send(body_of(number))
    await asyncio.sleep(0.5)
    first = await asyncio.wait_for(reader.read(1), _WAIT_S)
    tally.outcomes["slow reader: answered" if first == b"H" else "slow reader: nothing"] += 1
    await connection.close()


async def oversized(connection: Connection, number: int, tally: Tally) -> None:
    """Announce too large a body."""
    status, _ = await connection.post(b'{"rows": ["', length=_BIG)
    tally.outcomes[f"oversized: {status}"] += 1
    await connection.close()


async def malformed(connection: Connection, number: int, tally: Tally) -> None:
    """Send what is no JSON, or no request."""
    bodies = (
        b"{",
        b"[]",
        b'{"rows": []}',
        b'{"rows": [1]}',
        b'{"row": ["a"]}',
        b"\xff\xfe\x00",
        b'{"rows": [{"txt": "a"}]}',
    )
    status, _ = await connection.post(bodies[number % len(bodies)])
    tally.outcomes[f"malformed: {status}"] += 1


MIX: tuple[tuple[Callable[[Connection, int, Tally], Awaitable[None]], int], ...] = (
    (good, 70), (vanishing, 12), (slow_reader, 3), (oversized, 5), (malformed, 10),
)  # fmt: skip
"""Kinds of clients in the soak, with their shares in percent."""


async def clients(
    port: int, n_clients: int, numbers: Sequence[int], tally: Tally, *, mixed: bool, on_done: Callable[[int], None]
) -> None:
    """Have clients ask, each its next request as soon as it has its answer."""
    waiting = iter(numbers)
    done = 0

    async def one() -> None:
        nonlocal done
        connection = Connection(port)
        for number in waiting:
            rng = random.Random(number)
            kind = rng.choices([k for k, _ in MIX], [share for _, share in MIX])[0] if mixed else good
            try:
                await kind(connection, number, tally)
            except (OSError, asyncio.IncompleteReadError) as error:
                tally.outcomes[f"{kind.__name__.replace('_', ' ')}: {type(error).__name__}"] += 1
                await connection.close()
            done += 1
            on_done(done)
        await connection.close()

    await asyncio.gather(*(one() for _ in range(n_clients)))


def phase(port: int, n_clients: int, numbers: Sequence[int]) -> dict[str, Any]:
    """Measure good clients."""
    tally, start = Tally(), time.perf_counter()
    asyncio.run(clients(port, n_clients, numbers, tally, mixed=False, on_done=lambda _: None))
    seconds = time.perf_counter() - start
    return {
        "clients": n_clients,
        "requests": len(numbers),
        "rows_per_s": len(tally.seconds) / seconds,
        **{f"p{q}_ms": 1000 * float(np.percentile(tally.seconds, q)) for q in (50, 99)},
        "outcomes": dict(tally.outcomes),
    }


def soak(server: subprocess.Popen[bytes], port: int, n_clients: int, n_requests: int) -> dict[str, Any]:
    """Let bad clients among good ones loose, and end the server after nine tenths of them."""
    tally, memory = Tally(), [resident_mb(server.pid)]

    def watch(done: int) -> None:
        if done % max(1, n_requests // 10) == 0 and server.poll() is None:
            memory.append(resident_mb(server.pid))
        if done == n_requests * 9 // 10:
            server.send_signal(signal.SIGTERM)

    numbers = range(10**6, 10**6 + n_requests)
    asyncio.run(clients(port, n_clients, numbers, tally, mixed=True, on_done=watch))
    return {
        "clients": n_clients,
        "requests": n_requests,
        "sigterm_after": n_requests * 9 // 10,
        "exit_status": server.wait(_WAIT_S),
        "outcomes": dict(sorted(tally.outcomes.items())),
        "resident_mb": memory,
    }


def statuses_of_log(log: Path) -> Counter[str]:
    """How often the server logged each status of a request; every request has one line."""
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    ids = Counter(line["id"] for line in lines if line["event"] == "request")
    assert all(count == 1 for count in ids.values()), "a request was answered twice"
    return Counter(str(line["status"]) for line in lines if line["event"] == "request")


def resident_mb(process: int) -> float:
    """Resident memory of a process."""
    text = Path(f"/proc/{process}/status").read_text(encoding="utf-8")
    found = re.search(r"VmRSS:\s+(\d+) kB", text)
    return int(found[1]) / 1024 if found else 0.0


def started(run: Path, log: Path, threads: int) -> tuple[subprocess.Popen[bytes], int]:
    """Start a server, and wait until it listens."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    with log.open("w") as file:
        command = [sys.executable, "-m", "predgen", "serve", str(run), "--port", "0"]
        server = subprocess.Popen(command, stderr=file, env=environment)
    end = time.monotonic() + _WAIT_S
    while not (found := re.search(r'"address": "http://[^:]+:(\d+)"', log.read_text(encoding="utf-8"))):
        if server.poll() is not None or time.monotonic() > end:
            raise SystemExit(log.read_text(encoding="utf-8"))
        time.sleep(0.1)
    return server, int(found[1])


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.load", description="Load `predgen serve`.")
    parser.add_argument("run", type=Path, help="folder of a trained model whose prompt has one field")
    parser.add_argument("--requests", type=int, default=256, help="requests of many clients; one at a time: an eighth")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--soak", type=int, default=2000, help="requests of good and bad clients")
    parser.add_argument("--threads", type=int, default=1, help="threads of the server")
    parser.add_argument("--out", type=Path, default=Path("serving.json"))
    options = parser.parse_args(arguments)
    log = options.out.with_suffix(".log")
    found: dict[str, Any] = {
        "model": options.run.resolve().name,
        "threads": options.threads,
        "versions": {
            "predgen": predgen.__version__,
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        },
        "machine": f"{platform.machine()}, {os.cpu_count()} hardware threads",
        "goal": GOAL,
    }

    def keep(**measured: Any) -> None:  # noqa: ANN401
        """Add what was measured, and write all there is: a load that is ended keeps what it has."""
        found.update(measured)
        options.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")

    server, port = started(options.run, log, options.threads)
    try:
        phase(port, 1, range(4))  # warm
        keep(load_average=os.getloadavg()[0], alone=phase(port, 1, range(100, 100 + max(4, options.requests // 8))))
        keep(together=phase(port, options.clients, range(1000, 1000 + options.requests)))
        keep(ratio=found["together"]["rows_per_s"] / found["alone"]["rows_per_s"])
        keep(soak=soak(server, port, options.clients, options.soak))
    finally:
        server.kill()
    keep(logged_statuses=dict(sorted(statuses_of_log(log).items())))
    print(json.dumps(found, indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
