"""What outlives a run: bytes by key, in one SQLite file of the user's cache folder.

The file can be lost, damaged, shared by several runs or on a full disk: whatever goes wrong, it is as if nothing had
been kept, which is said once. An entry's checksum is compared when it is read.
"""

import hashlib
import logging
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

LARGEST = 1 << 29  # bytes of the file
TOGETHER = 64  # entries that are written at once
PATIENCE = 10.0  # seconds that another run may take to write
FILE = "computed.sqlite"
VARIABLE = "STEPGAUGE_CACHE"  # of the environment: a folder of one's own, or "off"
TABLE = "CREATE TABLE IF NOT EXISTS entries (key BLOB PRIMARY KEY, checksum BLOB NOT NULL, value BLOB NOT NULL)"
log = logging.getLogger("stepgauge.cache")


def folder() -> Path | None:
    """Where the file lies; None if the user wants none."""
    chosen = os.environ.get(VARIABLE, "")
    if chosen == "off":
        return None
    if chosen:
        return Path(chosen)
    from platformdirs import user_cache_path

    return user_cache_path("stepgauge")


def digest(*parts: bytes) -> bytes:
    """A checksum of parts, each with its length, so that no two lists have the same bytes."""
    whole = hashlib.blake2b(digest_size=20)
    for part in parts:
        whole.update(len(part).to_bytes(8, "big"))
        whole.update(part)
    return whole.digest()


class Store:
    """Bytes by key, as long as the file can be used."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._unwritten: dict[bytes, bytes] = {}
        self._connection: sqlite3.Connection | None = None
        with self._or_nothing():
            file.parent.mkdir(parents=True, exist_ok=True)
            self._connection = self._connected()

    def _connected(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.file, timeout=PATIENCE, isolation_level=None, check_same_thread=False)
        try:
            connection.execute("PRAGMA synchronous = OFF")  # what a crash damages is computed again
            (page,) = connection.execute("PRAGMA page_size").fetchone()
            connection.execute(f"PRAGMA max_page_count = {LARGEST // page}")
            connection.execute(TABLE)
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    def get(self, key: bytes) -> bytes | None:
        """What was put under the key, in this run or an earlier one."""
        if key in self._unwritten:
            return self._unwritten[key]
        found = None
        with self._or_nothing():
            if self._connection is not None:
                found = self._connection.execute("SELECT checksum, value FROM entries WHERE key = ?", (key,)).fetchone()
        if found is None:
            return None
        checksum, value = found
        if checksum != digest(key, value):
            self._start_anew("an entry is damaged")
            return None
        return bytes(value)

    def put(self, key: bytes, value: bytes) -> None:
        if self._connection is not None:
            self._unwritten[key] = value
            if len(self._unwritten) >= TOGETHER:
                self.write()

    def write(self) -> None:
        """Write what waits to be written."""
        rows = [(key, digest(key, value), value) for key, value in self._unwritten.items()]
        self._unwritten.clear()
        with self._or_nothing():
            if self._connection is not None and rows:
                try:
                    self._insert(rows)
                except sqlite3.OperationalError as error:
                    if error.sqlite_errorcode != sqlite3.SQLITE_FULL:
                        raise
                    self._forget_older_half()
                    self._insert(rows)

    def _insert(self, rows: list[tuple[bytes, bytes, bytes]]) -> None:
        assert self._connection is not None
        with self._transaction(self._connection):
            self._connection.executemany("INSERT OR REPLACE INTO entries VALUES (?, ?, ?)", rows)

    @staticmethod
    @contextmanager
    def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            with suppress(sqlite3.Error):  # some errors end the transaction themselves
                connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")

    def _forget_older_half(self) -> None:
        assert self._connection is not None
        half = "SELECT rowid FROM entries ORDER BY rowid LIMIT (SELECT (count(*) + 1) / 2 FROM entries)"
        self._connection.execute(f"DELETE FROM entries WHERE rowid IN ({half})")

    def close(self) -> None:
        self.write()
        self._disconnect()

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    @contextmanager
    def _or_nothing(self) -> Iterator[None]:
        """Whatever goes wrong with the file, go on without it, or with a new one if it is no database any more."""
        try:
            yield
        except sqlite3.OperationalError as error:  # locked, full, read-only
            self._give_up(str(error))
        except sqlite3.DatabaseError as error:
            self._start_anew(str(error))
        except OSError as error:
            self._give_up(error.strerror or str(error))

    def _give_up(self, reason: str) -> None:
        log.warning("nothing is kept in %s (%s); set %s to another folder", self.file, reason, VARIABLE)
        self._disconnect()

    def _start_anew(self, reason: str) -> None:
        """Remove a damaged file and begin with an empty one."""
        log.warning("%s is made anew (%s)", self.file, reason)
        self._disconnect()
        try:
            self.file.unlink(missing_ok=True)
            self._connection = self._connected()
        except (OSError, sqlite3.Error) as error:
            self._give_up(str(error))
