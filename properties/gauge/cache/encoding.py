"""Values as bytes and back: plain data, never code.

A head in JSON says what the value is made of; the contents of its arrays follow, end to end. Records are written under
their names, so that only those that are `storable` can be read.
"""

import dataclasses
import json
from collections.abc import Iterator, Mapping
from math import prod
from typing import Any, TypeVar

import numpy as np

Record = TypeVar("Record", bound=type)
RECORDS: dict[str, type] = {}
PLAIN = (bool, int, float, str, type(None))
HEAD = 8  # bytes that say how long the head is


class Unstorable(TypeError):
    """A value that has no form as plain data."""


def storable(record: Record) -> Record:
    """Let a dataclass or a NamedTuple be written, and read again; a decorator, too."""
    RECORDS[record.__name__] = record
    return record


def encode(value: Any) -> bytes:
    """The value as bytes, the same for equal values.

    Raises:
        Unstorable: a part of it is no plain data.
    """
    arrays = bytearray()
    head = json.dumps(_described(value, arrays), separators=(",", ":")).encode()
    return b"".join([len(head).to_bytes(HEAD, "big"), head, arrays])


def decode(encoded: bytes) -> Any:
    """The value of `encode`; arrays are copies that may be written to."""
    end = HEAD + int.from_bytes(encoded[:HEAD], "big")
    return _restored(json.loads(encoded[HEAD:end]), memoryview(encoded)[end:])


def _described(value: Any, arrays: bytearray) -> Any:
    """What JSON can say of a value, whose arrays are put aside."""
    if type(value) in PLAIN:
        return value
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        start = len(arrays)
        arrays += value.tobytes()
        return {"array": [value.dtype.str, list(value.shape), start]}
    if isinstance(value, bytes):
        return {"bytes": value.hex()}
    name = type(value).__name__
    if RECORDS.get(name) is type(value):
        return {"record": [name, *(_described(part, arrays) for part in _parts(value))]}
    if type(value) in (tuple, list):
        return {type(value).__name__: [_described(part, arrays) for part in value]}
    if isinstance(value, (set, frozenset)):
        return {"set": [_described(part, arrays) for part in sorted(value)]}
    if isinstance(value, Mapping):
        return {"map": [[key, _described(part, arrays)] for key, part in value.items()]}
    raise Unstorable(f"{name} is no plain data")


def _parts(record: Any) -> Iterator[Any]:
    if isinstance(record, tuple):
        yield from record
    else:
        yield from (getattr(record, field.name) for field in dataclasses.fields(record))


def _restored(described: Any, arrays: memoryview) -> Any:
    """The value that JSON describes."""
    if not isinstance(described, dict):
        return described
    ((kind, content),) = described.items()
    if kind == "array":
        dtype, shape, start = content
        return np.frombuffer(arrays, dtype, prod(shape), start).reshape(shape).copy()
    if kind == "bytes":
        return bytes.fromhex(content)
    if kind == "record":
        name, *parts = content
        return RECORDS[name](*(_restored(part, arrays) for part in parts))
    if kind == "map":
        return {key: _restored(part, arrays) for key, part in content}
    collection = {"tuple": tuple, "list": list, "set": frozenset}[kind]
    return collection(_restored(part, arrays) for part in content)
