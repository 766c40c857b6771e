"""The biometric production service: stores normalised events, and answers what was measured."""
