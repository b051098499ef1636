"""Says so when `python -m app` is about to run another folder's app.

With `-m`, Python looks in the current folder first, so an app.py there runs instead of the Bonsai server, without a
word. Python executes the .pth file beside this module at start, before that happens; it imports this module only for
`python -m app`.
"""

import os
import sys

_OTHER = os.path.exists("app.py") or os.path.exists("app/__init__.py")  # noqa: PTH110 - pathlib would slow the start
_OURS = os.path.exists("app/dataplane.py")  # noqa: PTH110

if _OTHER and not _OURS:
    sys.stderr.write(
        "bonsai: `python -m app` in this folder runs the folder's own app, not the Bonsai server; "
        "type `bonsai` or `python -P -m app`\n"
    )
