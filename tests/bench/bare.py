"""A bare asynchronous client: it applies the objects of a file, as many at a time as the operator does, and ends.

``python -m tests.bench.bare FILE`` with KUBECONFIG; it prints the seconds that it took, connecting included. It is
what the operator's cold start is held against: same client library, same concurrency, no watching, no thinking.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

import uvloop

from auren_operator.kube.client import Kube, connect
from auren_operator.reconcile.apply import CONCURRENT_WRITES


async def apply_all(objects: list[dict[str, Any]]) -> float:
    """Seconds to apply all of them."""
    started = time.perf_counter()
    kube = Kube(await connect())
    left = iter(objects)

    async def work() -> None:
        for manifest in left:
            await kube.apply(manifest)

    await asyncio.gather(*(work() for _ in range(CONCURRENT_WRITES)))
    await kube.close()
    return time.perf_counter() - started


def main() -> None:
    """Apply the objects of the file that the first argument names."""
    objects = json.loads(Path(sys.argv[1]).read_text())
    print(uvloop.run(apply_all(objects)))


if __name__ == "__main__":
    main()
