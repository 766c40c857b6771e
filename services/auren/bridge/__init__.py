"""The bridge: takes what providers push, puts it into the log, and turns the log into events.

`serve` verifies a delivery, appends it to `biometric-webhooks` and answers once Kafka has acknowledged it. `collect`
reads that log, decodes it with the provider's decoder and writes `biometric-events`.
"""
