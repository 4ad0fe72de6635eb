"""A folder of this machine for one process; what a killed one left is removed by the next.

The lock on the folder ends with its process, however that ends, so it says whose folder is left.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from pathlib import Path

PREFIX = "binas-host."  # not a keeper's, which knows by itself what is left (keeper.py)
_YOUNG_S = 60.0  # another process may have made a folder and not locked it yet


class Scratch:
    """A new folder, readable by its user only, until `close`.

    Args:
        parent: Where it is made; it must be there.
    """

    def __init__(self, parent: Path) -> None:
        """Remove what is left of others, then make it.

        Raises:
            OSError: It cannot be made.
        """
        _sweep(parent)
        self.path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
        self._lock = _opened(self.path)
        fcntl.flock(self._lock, fcntl.LOCK_EX)

    def close(self) -> None:
        """Remove it; a second time does nothing."""
        shutil.rmtree(self.path, ignore_errors=True)
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def _opened(path: Path) -> int:
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)


def _sweep(parent: Path) -> None:
    """Remove folders of ours whose process is gone."""
    for path in parent.glob(f"{PREFIX}*"):
        try:
            lock = _opened(path)
        except OSError:  # somebody else's, or no folder
            continue
        try:
            found = os.fstat(lock)
            if found.st_uid != os.geteuid() or time.time() - found.st_mtime < _YOUNG_S:
                continue
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path, ignore_errors=True)
        except BlockingIOError:  # its process is at work
            continue
        finally:
            os.close(lock)
