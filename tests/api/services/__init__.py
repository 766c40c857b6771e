"""The services as processes, against real stores that the two Jobs have prepared as in a stack."""
