"""Metrics and logs. Nothing in here knows the rest of the server."""
