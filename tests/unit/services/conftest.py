"""Settings of the properties: no time limits, for a busy machine breaks no promise."""

from hypothesis import settings

settings.register_profile("auren", deadline=None)
settings.load_profile("auren")
