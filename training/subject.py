"""What is compiled: a network with its application, and how it learns."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import Any

from torch import nn

from training.application import Application
from training.course import Course, Feed


def unwrapped(thing: object) -> object:
    """The function within a partial one."""
    return unwrapped(thing.func) if isinstance(thing, partial) else thing


def described(function: object) -> str:
    """A function or class by name, with the arguments that a partial one has."""
    inner = unwrapped(function)
    name = getattr(inner, "__qualname__", type(inner).__qualname__)
    return f"{name} {function.args} {function.keywords}" if isinstance(function, partial) else name


def sources_of(*things: object) -> tuple[ModuleType, ...]:
    """The modules in whose files functions and classes are written, each once."""
    names = dict.fromkeys(getattr(unwrapped(thing), "__module__", None) for thing in things)
    modules = (sys.modules[name] for name in names if name in sys.modules)
    return tuple(module for module in modules if getattr(module, "__file__", None))


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
