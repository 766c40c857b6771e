"""Chaos on real processes: deliveries of every provider at a rate while stores and services are killed and frozen."""
