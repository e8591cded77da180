"""Clients of one server that ask again as soon as they are answered: `python -m bench.hub.clients`.

A process of its own, whose memory and Python's lock the server does not share. It prints one JSON
object: milliseconds of each request, seconds of processor time, and statuses other than 200.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections import Counter
from itertools import islice
from urllib.parse import urlencode

from bench.hub.made import searches


class Clients:
    """Connections that are kept, each sending the next address when it has its answer."""

    def __init__(self, port: int, paths: list[str], key: str) -> None:
        self._port = port
        self._left = iter(paths)
        self._key = f"Authorization: Bearer {key}\r\n" if key else ""
        self.times: list[float] = []
        self.statuses: Counter[int] = Counter()

    async def run(self, count: int) -> None:
        await asyncio.gather(*(self._one() for _ in range(count)))

    async def _one(self) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        for path in self._left:
            start = time.perf_counter()
            head = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{self._key}\r\n"
            writer.write(head.encode())
            found = (await reader.readuntil(b"\r\n\r\n")).lower()
            _, _, rest = found.partition(b"content-length:")
            await reader.readexactly(int(rest.split(b"\r\n", 1)[0]))
            self.times.append(1000 * (time.perf_counter() - start))
            self.statuses[int(found.split(b" ", 2)[1])] += 1
        writer.close()


def paths(door: str, count: int, seed: int) -> list[str]:
    """Different pages and searches in the words of a door."""
    names = {"task": "pipeline_tag", "library": "filter", "language": "filter", "license": "filter"}
    prefix = {"license": "license:", "base": "base_model:"}
    found = []
    for asked in islice(searches(seed), count):
        if door == "/hf/api/models":
            words = [(names.get(n, n), prefix.get(n, "") + v) for n, v in asked.items()]
            words = [("filter" if n == "base" else n, _SORTS.get(v, v)) for n, v in words]
        else:
            words = list(asked.items())
        found.append(f"{door}?{urlencode([*words, ('limit', '20')])}")
    return found


_SORTS = {"created": "createdAt"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--door", required=True)
    parser.add_argument("--requests", type=int, required=True)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--key", default="")
    options = parser.parse_args()
    asked = paths(options.door, options.requests, options.seed)
    clients = Clients(options.port, asked, options.key)
    asyncio.run(clients.run(options.clients))
    wrong = {status: n for status, n in clients.statuses.items() if status != 200}
    print(json.dumps({"ms": clients.times, "cpu_s": time.process_time(), "wrong": wrong}))


if __name__ == "__main__":
    main()
