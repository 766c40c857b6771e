"""Interventions: a short exercise offered to a person whose mode asks for one, at the moment that it does.

    neuros-mode-switches ─▶ decision ─▶ table + outbox ─▶ neuros-interventions
    biometric-events ─▶ outcome of what was offered        └▶ Redis, open sockets

`room.build` puts the parts together; `decision.decide` says who is offered what, and why nobody else is.
"""
