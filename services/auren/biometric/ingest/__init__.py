"""From `biometric-events` to rows, days, people's modes and the outbox, in one transaction for each part of a batch.

records ─▶ batch (decode) ─▶ ledger (what the database has) ─▶ sequence (event by event, pure) ─▶ ledger (write)
                                                                                    ─▶ hot values, outbox ─▶ Kafka
"""
