"""What a message to NEUROS is, by request and by socket."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from auren.neuros.turn import Feeling

SESSION: str = r"^[A-Za-z0-9_-]{1,64}$"
SessionId = Annotated[str, Field(pattern=SESSION)]


class Context(BaseModel):
    """What the app knows of the person's situation."""

    model_config = ConfigDict(extra="forbid")

    feeling: Annotated[Feeling | None, Field(description="how the person says they feel, e.g. by a button")] = None


class Message(BaseModel):
    """A message to NEUROS."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"message": "How am I doing?"}]})

    message: str = Field(min_length=1, max_length=4000, pattern=r"^[^\x00]*$")
    context: Context = Context()


class Question(Message):
    """The same; without `session_id` a new session begins."""

    session_id: SessionId | None = None
