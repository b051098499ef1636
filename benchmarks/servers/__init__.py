"""Servers that Bonsai is measured against. Each is run in a process of its own."""
