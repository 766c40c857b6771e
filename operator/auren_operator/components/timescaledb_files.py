"""TimescaleDB's files: its configuration in proportion to its memory, who may come in, and how it starts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from auren_operator.api.names import SECRETS_DIR
from auren_operator.api.spec import TimescaleSpec

START: Final = f"""\
# Brings the administrator's password to what the Secret says, and becomes the server.
set -eu
conf=/etc/auren/postgresql.conf
if [ -s "$PGDATA/PG_VERSION" ]; then
  chmod 0700 "$PGDATA"
  # In single-user mode nobody else can be connected yet, and no password is asked for. A failing statement ends the
  # start; it is kept out of the log, and so is what the mode prints.
  {{
    printf "ALTER ROLE postgres PASSWORD '"
    sed "s/'/''/g" {SECRETS_DIR}/password | tr -d '\\n'
    printf "'\\n"
  }} | postgres --single -D "$PGDATA" -c config_file="$conf" -c exit_on_error=true \\
    -c log_min_error_statement=panic -c log_statement=none -c log_min_duration_statement=-1 postgres >/dev/null
fi
exec docker-entrypoint.sh postgres -c config_file="$conf"
"""

CLIENTS: Final = """\
# type  database  user  address  method
local   all       all            trust
host    all       all   all      scram-sha-256
"""
"""Inside the pod the local socket is open (`kubectl exec ... psql`); over the network nobody comes in unasked."""

MEBIBYTE: Final = 1 << 20


def postgresql_conf(spec: TimescaleSpec, storage_bytes: int) -> str:
    """The whole configuration. People's own lines come before those that must stay: the last line wins."""
    groups = (_tunable(spec, storage_bytes), spec.config, _fixed(spec))
    return "".join(_line(key, value) for group in groups for key, value in group.items())


def _line(key: str, value: str) -> str:
    quoted = " ".join(value.splitlines()).replace("'", "''")
    return f"{key} = '{quoted}'\n"


def _tunable(spec: TimescaleSpec, storage_bytes: int) -> Mapping[str, str]:
    """A quarter of the memory for shared buffers, as PostgreSQL's documentation advises; the log's size by the disk."""
    memory = spec.resources.memory_limit_bytes // MEBIBYTE
    wal = min(4096, max(128, storage_bytes // MEBIBYTE // 8))
    return {
        "shared_buffers": f"{memory // 4}MB",
        "effective_cache_size": f"{memory // 2}MB",
        "maintenance_work_mem": f"{max(16, memory // 16)}MB",
        "work_mem": f"{max(1, memory // 4 // spec.max_connections)}MB",
        "max_wal_size": f"{wal}MB",
        "min_wal_size": f"{min(wal, 128)}MB",
        "checkpoint_completion_target": "0.9",
        "max_worker_processes": "16",
        "max_parallel_workers": "4",
        "timescaledb.max_background_workers": "8",
        "random_page_cost": "1.1",
        "idle_in_transaction_session_timeout": "5min",
        "timezone": "UTC",
        "log_timezone": "UTC",
        "log_line_prefix": "%m [%p] %q%u@%d ",
    }


def _fixed(spec: TimescaleSpec) -> Mapping[str, str]:
    return {
        "listen_addresses": "*",
        "port": "5432",
        "unix_socket_directories": "/var/run/postgresql",
        "hba_file": "/etc/auren/pg_hba.conf",
        "max_connections": str(spec.max_connections),
        "password_encryption": "scram-sha-256",
        "shared_preload_libraries": "timescaledb",
        "timescaledb.telemetry_level": "off",
        "huge_pages": "off",  # a node may offer pages that the pod's limits do not allow it to touch
        "logging_collector": "off",
    }
