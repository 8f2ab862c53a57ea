"""A folder in the place of another, whole: bundles are installed and exported so."""

import shutil
import tempfile
from pathlib import Path


def put_in_place(new: Path, target: Path) -> None:
    """Move the folder `new` to `target`, on the same disk, and then delete what was there.

    What was there is kept, hidden beside `target`, until `new` is in its place, and comes back if that fails. Raises
    OSError.
    """
    if not target.is_symlink() and not target.exists():
        new.rename(target)
        return
    aside = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}-"))
    old = aside / "old"
    try:
        target.rename(old)  # of a symlink only the link itself
        try:
            new.rename(target)
        except OSError:
            old.rename(target)
            raise
    except OSError:
        if not old.is_symlink() and not old.exists():
            aside.rmdir()
        raise
    if old.is_symlink():
        old.unlink()
    shutil.rmtree(aside)
