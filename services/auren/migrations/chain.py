"""The chain of revisions, run over a psycopg connection so that no password stands in a URL."""

from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

if TYPE_CHECKING:
    from collections.abc import Iterator

Connect = Callable[[], "psycopg.Connection[tuple[object, ...]]"]


def head() -> str:
    """The newest revision of the chain."""
    return ScriptDirectory.from_config(_config()).get_current_head() or "base"


def upgrade(connect: Connect, revision: str = "head") -> None:
    """Bring the database up to `revision`; nothing happens where it is there already."""
    with _on(connect) as config:
        command.upgrade(config, revision)


def downgrade(connect: Connect, revision: str) -> None:
    """Take the database down to `revision` ("base": no table left). Data of dropped tables is lost."""
    with _on(connect) as config:
        command.downgrade(config, revision)


@contextmanager
def _on(connect: Connect) -> "Iterator[Config]":
    """Alembic's configuration on an own connection, committed at the end."""
    engine = create_engine("postgresql+psycopg://", creator=connect, poolclass=NullPool)
    with engine.begin() as connection:
        config = _config()
        config.attributes["connection"] = connection
        yield config


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    return config
