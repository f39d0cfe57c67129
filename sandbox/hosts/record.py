"""Files that several processes share: JSON replaced whole, and logs of one JSON object a line."""

import datetime
import json
import os
import pathlib


def now():
    """The time in UTC, ISO 8601 with microseconds."""
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def append(path, **fields):
    """
    Append one line ``{time, **fields}``: a single write, so that lines of several processes never
    mix.
    """
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    line = json.dumps({"time": now(), **fields}) + "\n"
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)


def lines(path):
    """
    Every line of a log as a dict; ``[]`` where there is none. A last line cut short by a kill is
    left out.
    """
    try:
        text = pathlib.Path(path).read_text()
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in text.split("\n")[:-1] if line]


def write(path, data):
    """Replace a JSON file whole, so that no reader sees half of it."""
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    scratch.write_text(json.dumps(data, indent=1, sort_keys=True) + "\n")
    scratch.replace(path)


def read(path):
    """The content of a JSON file, or None where there is none."""
    try:
        return json.loads(pathlib.Path(path).read_text())
    except FileNotFoundError:
        return None
