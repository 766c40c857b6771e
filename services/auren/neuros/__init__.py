"""NEUROS: answers people from their own measurements. A wellness companion, not a medical device."""
