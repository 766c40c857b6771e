"""TimescaleDB's community edition, which no package has as a server: a WebAssembly build behind a socket.

It is a PostgreSQL 17 with TimescaleDB 2.23 in one process, in memory. All connections share one session of one
database, one waits while another is in a transaction, there is no background worker (a test runs the jobs itself), no
COPY from a client, and no index is made concurrently.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg.rows import DictRow, dict_row

from tests.api.places import on_path, part
from tests.api.processes import Server, Servers, free_port

HOST = "127.0.0.1"
USER = "postgres"


@dataclass(frozen=True)
class Community:
    """The server; any password is accepted."""

    server: Server
    port: int

    def connect(self) -> psycopg.Connection[DictRow]:
        """A superuser's connection in autocommit, with rows as mappings."""
        return psycopg.connect(
            host=HOST,
            port=self.port,
            user=USER,
            password="any",
            dbname=USER,
            autocommit=True,
            prepare_threshold=None,
            row_factory=dict_row,
        )


def start_community(servers: Servers) -> Community:
    """Start the server with an empty database."""
    port = free_port()
    script = Path(__file__).parent / "serve.mjs"
    log = servers.folder / "community.log"
    folder = part("community", "node_modules").parent
    server = servers.add(Server("community edition", [on_path("node"), script, folder, str(port)], log, lambda: True))
    server.ready = lambda: server.said("listening")
    server.start()
    return Community(server, port)
