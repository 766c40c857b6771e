"""The services, without anything outside the process."""
