"""Faults on demand: which calls go wrong, how, how often."""

import dataclasses
import fnmatch
import itertools
import json
import threading

from sandbox.aws import answer

EFFECTS = ("error", "delay", "reset", "rewrite", "outcome")
CHOICES = {"reset": ("before", "after"), "outcome": ("pending", "failed")}


@dataclasses.dataclass
class Fault:
    """
    Which calls: those of ``service``, ``operation``, ``agent`` and ``write`` (None: any), whose
    ``parameters`` match (name: pattern with ``*``; lists and dicts are matched as JSON). The first
    ``after`` of them are spared, then ``times`` are hit (None: all).

    What happens: ``error`` is answered (a code, or "", with HTTP ``status`` and ``message``); the
    answer is late by ``delay`` seconds; the connection is ``reset`` before or after the call was
    applied; texts of the answer are replaced (``rewrite``: old: new); what the call starts has
    another ``outcome`` (pending: not finished while this fault stands; failed). ``applied``:
    whether the call is carried out at all; by default not for ``error`` and ``reset: before``. A
    late call that is not applied is never answered.
    """

    service: str | None = None
    operation: str | None = None
    agent: str | None = None
    write: bool | None = None
    parameters: dict = dataclasses.field(default_factory=dict)
    after: int = 0
    times: int | None = 1
    error: str | None = None
    status: int | None = None
    message: str = "fault of the sandbox"
    delay: float | None = None
    reset: str | None = None
    rewrite: dict | None = None
    outcome: str | None = None
    applied: bool | None = None
    id: int = 0
    seen: int = 0
    hit: int = 0
    standing: bool = True

    def __post_init__(self):
        """Refuse a fault that would do nothing, or not what its author meant."""
        if not any(getattr(self, effect) is not None for effect in EFFECTS):
            raise ValueError(f"a fault needs one of {', '.join(EFFECTS)}")
        for name, choices in CHOICES.items():
            if getattr(self, name) not in (None, *choices):
                raise ValueError(
                    f"{name}: expected one of {', '.join(choices)}, not {getattr(self, name)!r}"
                )
        if self.applied is None:
            self.applied = self.error is None and self.reset != "before"

    def matches(self, call):
        """Whether a call is one of those meant; the sandbox's own parts only if they are named."""
        if call.internal and self.agent != call.agent:
            return False
        wanted = ("service", "operation", "agent", "write")
        if any(getattr(self, name) not in (None, getattr(call, name)) for name in wanted):
            return False
        return all(
            fnmatch.fnmatchcase(_text(call.parameters.get(n)), p)
            for n, p in self.parameters.items()
        )

    @property
    def drops(self):
        """Whether the client never gets an answer."""
        return self.reset is not None or (
            self.delay is not None and not self.applied and self.error is None
        )

    def spoil(self, call, response):
        """
        Return what the client is answered, given what moto made of the call (None: not carried
        out).
        """
        if self.error is not None:
            return answer.error(call, self.error, self.message, self.status)
        if response is not None and self.rewrite:
            text = response.get_data(as_text=True)
            for old, new in self.rewrite.items():
                text = text.replace(old, new)
            response.set_data(text)
        return response

    def as_dict(self):
        """Return it as JSON can hold it."""
        return dataclasses.asdict(self)


class Faults:
    """Those that stand now."""

    def __init__(self):
        self.lock = threading.Lock()
        self.ids = itertools.count(1)
        self.standing = []

    def add(self, description):
        """
        Add a fault described by a dict; ValueError for one that makes no sense. Returns the Fault.
        """
        known = {field.name for field in dataclasses.fields(Fault)} - {
            "id",
            "seen",
            "hit",
            "standing",
        }
        unknown = sorted(set(description) - known)
        if unknown:
            raise ValueError(
                f"unknown: {', '.join(unknown)}; expected some of {', '.join(sorted(known))}"
            )
        fault = Fault(**description)
        with self.lock:
            fault.id = next(self.ids)
            self.standing.append(fault)
        return fault

    def clear(self, fault_id=None):
        """Take all away, or one; what it kept pending goes on."""
        with self.lock:
            gone = [fault for fault in self.standing if fault_id in (None, fault.id)]
            self.standing = [fault for fault in self.standing if fault not in gone]
            for fault in gone:
                fault.standing = False

    def take(self, call):
        """Count a call; return the oldest fault that is due for it, None for no fault."""
        with self.lock:
            due = None
            for fault in self.standing:
                if not fault.matches(call):
                    continue
                fault.seen += 1
                spent = fault.times is not None and fault.hit >= fault.times
                if due is None and fault.seen > fault.after and not spent:
                    due = fault
            if due:
                due.hit += 1
            return due


def _text(value):
    return value if isinstance(value, str) else json.dumps(value, default=str)
