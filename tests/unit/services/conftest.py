"""Settings of the properties: no time limits, for a busy machine breaks no promise.

`--hypothesis-profile deep` looks at far more examples than a run in between has time for.
"""

from hypothesis import settings

settings.register_profile("auren", deadline=None)
settings.register_profile("deep", deadline=None, max_examples=10_000)
settings.load_profile("auren")
