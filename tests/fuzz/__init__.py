"""Fuzzing: bytes that nobody thought of, through the real code (docs/fuzzing.md)."""
