"""The log of calls: one JSON line for each call that was not the sandbox's own."""

import json
import threading
from datetime import datetime, timezone

LONGEST_TEXT = 200
LONGEST_LIST = 100


class CallLog:
    """``calls.jsonl`` in the given folder."""

    def __init__(self, folder):
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / "calls.jsonl"
        self.lock = threading.Lock()

    def write(self, call, status, code):
        """Append a call; ``status`` None and a code of our own where no answer was sent."""
        if call.internal:
            return
        line = {
            "time": (
                datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
            ),
            "service": call.service,
            "operation": call.operation,
            "parameters": short(call.parameters),
            "status": status,
            "code": code,
            "agent": call.agent,
            "write": call.write,
        }
        if call.fault:
            line["fault"] = call.fault.id
        with self.lock, self.path.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(line, default=str) + "\n")

    def read(self, **wanted):
        """Return the logged calls, oldest first, whose fields have the wanted values."""
        with self.lock:
            text = self.path.read_text(encoding="utf-8") if self.path.exists() else ""
        calls = [json.loads(line) for line in text.splitlines()]
        return [
            call for call in calls if all(call[name] == value for name, value in wanted.items())
        ]

    def clear(self):
        """Forget all calls."""
        with self.lock:
            self.path.write_text("", encoding="utf-8")


def short(value):
    """Return parameters fit for a line of the log: no bodies, no endless texts and lists."""
    if isinstance(value, dict):
        return {name: short(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        left_out = len(value) - LONGEST_LIST
        return [short(part) for part in value[:LONGEST_LIST]] + (
            [f"… {left_out} more"] if left_out > 0 else []
        )
    if isinstance(value, bytes):
        return f"<{len(value)} bytes>"
    if isinstance(value, str) and len(value) > LONGEST_TEXT:
        return f"{value[:LONGEST_TEXT]}… ({len(value)} characters)"
    return value
