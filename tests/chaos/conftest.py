"""Fixtures of the suite."""

from tests.http.conftest import connect

__all__ = ["connect"]
