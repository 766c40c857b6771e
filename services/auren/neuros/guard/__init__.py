"""What stands between NEUROS and the person: emergencies before any model, red flags in values, a check of each reply.

Everything here is pure and light to import: no store, no clock, no model.
"""
