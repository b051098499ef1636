"""The control groups that this process is in, innermost first.

See the kernel's Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/cgroups.rst.
"""

from collections.abc import Iterator
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")


def folders(controller: str, cgroups: Path, membership: Path) -> Iterator[tuple[int, Path]]:
    """Version, 1 or 2, and folder of the cgroup that a controller has this process in, and of every one above it."""
    try:
        lines = membership.read_text().splitlines()
    except OSError:  # not Linux, or /proc is hidden
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            version, root = 2, cgroups
        elif controller in controllers.split(","):
            version, root = 1, cgroups / controller
        else:
            continue
        # In a container the path may name a place outside its view; then only the root can be read.
        inside = root / path.lstrip("/")
        for folder in (inside, *inside.parents):
            yield version, folder
            if folder == root:
                break
