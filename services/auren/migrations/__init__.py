"""The database `auren_production`: one chain of revisions, and the only place that defines a table.

`python -m auren.migrations` brings a server to `REVISION`, makes the services' roles and LangGraph's tables. The
services only read `REVISION`, to tell a database that is not theirs yet from one that is.
"""

REVISION = "0008"
"""The revision that this version of the services was written for (a test holds it to the chain's head)."""

CHECKPOINT_SCHEMA = "langgraph"
"""The schema of LangGraph's checkpoint tables; NEUROS sets its search path to it and has no DDL rights there."""
