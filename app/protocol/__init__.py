"""Bytes to messages of NumPy arrays and back. No HTTP in here."""
