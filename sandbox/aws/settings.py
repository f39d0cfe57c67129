"""
How long things take, and how often the load balancers look. Changed at run time through
``/_sandbox/settings``.
"""

import dataclasses
import json

NULLABLE = ("health_interval", "health_healthy", "health_unhealthy", "health_timeout", "drain")

# For tests inside one process: the same order of events as in the sandbox, in a fraction of the
# time.
QUICK = {
    "health_interval": 0.05,
    "drain": 0.3,
    "ami_pending": 0.3,
    "dns_sync": 0.2,
    "invalidation": 0.2,
    "distribution": 0,
}


@dataclasses.dataclass
class Settings:
    """Times in seconds. ``None``, where allowed, means what the load balancer itself says."""

    health_interval: float | None = 1
    health_healthy: int | None = 2
    health_unhealthy: int | None = 2
    health_timeout: float | None = 2
    drain: float | None = 3
    ami_pending: float = 3
    instance_pending: float = 0
    dns_sync: float = 1
    invalidation: float = 1
    distribution: float = 1

    def change(self, changes):
        """
        Set some of the values.

        changes: a dict of field name to number (or None where a load balancer has an answer of its
        own). Raises ValueError naming every bad field; then nothing is changed.
        """
        known = [field.name for field in dataclasses.fields(self)]
        problems = [
            f"{name}: unknown, expected one of {', '.join(known)}"
            for name in changes
            if name not in known
        ]
        problems += [
            f"{name}: expected a number of at least 0, not {value!r}"
            for name, value in changes.items()
            if name in known and not self._fits(name, value)
        ]
        if problems:
            raise ValueError("; ".join(problems))
        for name, value in changes.items():
            setattr(self, name, value)

    def as_dict(self):
        """Return every value by name."""
        return dataclasses.asdict(self)

    @staticmethod
    def _fits(name, value):
        if value is None:
            return name in NULLABLE
        return isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0


def from_config(folder):
    """
    Read the ``times`` of the sandbox's ``config.json``; names that are not ours belong to other
    parts.

    folder: the sandbox's folder (Path). Returns Settings, with the defaults where the file says
    nothing.
    """
    settings = Settings()
    try:
        times = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("times", {})
    except FileNotFoundError:
        return settings
    known = settings.as_dict()
    settings.change({name: value for name, value in times.items() if name in known})
    return settings
