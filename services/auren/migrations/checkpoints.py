"""LangGraph's checkpoint tables, made by LangGraph itself in a schema of their own."""

from langgraph.checkpoint.postgres import PostgresSaver
from psycopg import Connection
from psycopg.rows import DictRow
from psycopg.sql import SQL, Identifier

from auren.migrations import CHECKPOINT_SCHEMA


def ensure(connection: Connection[DictRow]) -> None:
    """Bring the schema to what the installed LangGraph expects; `connection` is an administrator's, in autocommit.

    Autocommit, because one of LangGraph's steps makes an index concurrently, which no transaction may hold.
    """
    schema = Identifier(CHECKPOINT_SCHEMA)
    connection.execute(SQL("CREATE SCHEMA IF NOT EXISTS {}").format(schema))
    connection.execute(SQL("SET search_path TO {}").format(schema))
    PostgresSaver(connection).setup()
    connection.execute("RESET search_path")
