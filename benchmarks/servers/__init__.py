"""Servers that Bonsai is measured against. Each is a script of its own process."""
