"""The screen, under the name that the agent and the graph import it by; see guard/screen.py."""

from auren.neuros.guard.emergencies import EMERGENCIES
from auren.neuros.guard.screen import FEELS_OFF, cues, emergency

__all__ = ["EMERGENCIES", "FEELS_OFF", "cues", "emergency"]
