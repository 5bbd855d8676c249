"""Files of the user's: written whole or not at all, and read only if they are files."""

import os
import stat
import tempfile
from pathlib import Path


def write_whole(file: Path, text: str | bytes) -> None:
    """Write a text in place of what is there, all of it or nothing.

    What is no file (a pipe, a terminal) is written into. What UTF-8 does not have is escaped.

    Raises:
        OSError: it cannot be written; then what was there is unchanged.
    """
    try:
        _write(file, text if isinstance(text, bytes) else text.encode("utf-8", errors="backslashreplace"))
    except OSError as error:
        error.filename = str(file)  # and neither its draft nor where a link leads
        raise


def _write(file: Path, content: bytes) -> None:
    end = Path(os.path.realpath(file))  # a link stays one
    if end.exists() and not end.is_file():
        end.write_bytes(content)
        return
    mode = stat.S_IMODE(end.stat().st_mode) if end.exists() else 0o666 & ~_umask()
    handle, name = tempfile.mkstemp(dir=end.parent, prefix=f".{end.name}.")
    try:
        with os.fdopen(handle, "wb") as draft:
            draft.write(content)
        os.chmod(name, mode)
        os.replace(name, end)
    except BaseException:
        os.unlink(name)
        raise


def _umask() -> int:
    """What the process leaves out of the rights of its files; there is no other way to ask."""
    umask = os.umask(0o077)
    os.umask(umask)
    return umask


def read_text(file: Path) -> str:
    """The text of a file in UTF-8.

    Raises:
        OSError: it cannot be read, or is no file: a pipe would keep its reader waiting.
        UnicodeDecodeError: it is something else.
    """
    if file.exists() and not file.is_file():
        raise OSError(0, "it is no regular file", str(file))
    return file.read_text(encoding="utf-8")
