"""What is compiled: a network with its application, and how it learns."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from training.application import Application
from training.course import Course, Feed


@dataclass(frozen=True, kw_only=True, eq=False)
class Subject(Application):
    """A trained net in eval mode with its application, and how it learns.

    `config` is what its training depends on, as JSON can hold it.
    """

    net: nn.Module
    feed: Feed
    course: Course
    config: dict[str, Any]
    new_net: Callable[[], nn.Module] | None = None
    """Makes an untrained net; None where only the trained one is known."""
