"""
What happens, a line each, on the terminal of the command that does it
======================================================================

On stderr, so that what a command returns stays whole. Times in the window's time zone. The last
line is kept in the run's folder too, for who looks from another terminal.
"""

import contextlib
import contextvars
import datetime
import os
import pathlib
import sys
import threading
import time
import zoneinfo

import salt.utils.event

from mitx_run import folders
from mitx_run.dunders import __opts__

# A step that takes longer is told again after so many seconds, and what it waits for not oftener.
_PERIOD = 10


def say(run, text):
    """
    Tell one line. A dry run tells everything at its end.
    """
    if run.test:
        return
    told = f"{clock(run)}  {text}"
    with contextlib.suppress(OSError, ValueError):
        print(told, file=sys.stderr, flush=True)
    # Nobody's work depends on it: a disk that is full ends nothing here.
    with contextlib.suppress(OSError):
        descriptor = folders.open_file(_latest(run), os.O_WRONLY | os.O_TRUNC)
        with open(descriptor, "w", encoding="utf-8") as out:
            out.write(f"{told}\n")


def latest(run):
    """
    Return the last line that the command of this run has told, in whatever terminal.
    """
    with contextlib.suppress(OSError):
        return _latest(run).read_text(encoding="utf-8").strip()
    return ""


def clock(run, moment=None):
    """
    Return a moment (aware), by default now, as a time of day in the window's time zone.
    """
    return local(run, moment).strftime("%H:%M:%S")


def local(run, moment=None):
    """
    Return a moment (aware), by default now, in the window's time zone; in UTC where there is none.
    """
    moment = moment or datetime.datetime.now(datetime.timezone.utc)
    with contextlib.suppress(KeyError, TypeError, ValueError):
        return moment.astimezone(zoneinfo.ZoneInfo(run.settings["window"]["timezone"]))
    return moment


class Waiting:
    """
    Tells what is waited for: at first after 2 seconds, then every ten. Called with what was seen.
    """

    def __init__(self, run, what):
        self._run, self._what = run, what
        self._began = time.monotonic()
        self._next = self._began + 2

    def __call__(self, seen):
        now = time.monotonic()
        if now >= self._next:
            self._next = now + _PERIOD
            waited = round(now - self._began)
            say(self._run, f"  waiting for {self._what}, {waited} s: {_short(seen)}")


@contextlib.contextmanager
def orchestration(run, sls):
    """
    While the block runs ``sls``, one of MITx's own, tell every ten seconds what Salt's event bus
    says of it: which instances were created, how many minions have returned how many jobs.
    """
    if run.test:
        yield
        return
    ended = threading.Event()
    # What Salt's loader gives to modules is known in this thread alone, unless it is handed on.
    context = contextvars.copy_context()
    teller = threading.Thread(target=context.run, args=(_tell, run, sls, ended), daemon=True)
    teller.start()
    try:
        yield
    finally:
        ended.set()
        teller.join(5)


def _tell(run, sls, ended):
    began, due = time.monotonic(), time.monotonic() + _PERIOD
    created, jobs = [], {}
    opts, sock_dir = dict(__opts__), __opts__["sock_dir"]
    # A line that cannot be printed must not end what it tells of.
    with (
        contextlib.suppress(Exception),
        salt.utils.event.get_master_event(opts, sock_dir, listen=True) as bus,
    ):
        while not ended.is_set():
            event = bus.get_event(wait=1, full=True)
            _count(event, created, jobs)
            if time.monotonic() >= due:
                due += _PERIOD
                say(run, f"  {sls}, {round(time.monotonic() - began)} s{_counted(created, jobs)}")


def _count(event, created, jobs):
    words = event["tag"].split("/") if event else []
    if words[:2] == ["salt", "cloud"] and words[-1] == "created":
        created.append(words[2])
    if words[:2] == ["salt", "job"] and "ret" in words:
        jobs.setdefault(str(event["data"].get("fun")), set()).add(words[-1])


def _counted(created, jobs):
    found = [f"{len(created)} instances created"] if created else []
    latest = list(jobs.items())[-1:]
    found += [f"{fun} returned by {len(minions)} minions" for fun, minions in latest]
    return ": " + ", ".join(found) if found else ""


def _latest(run):
    return pathlib.Path(folders.folder(run)) / "now"


def _short(seen):
    text = " ".join(str(seen).split())
    return text if len(text) <= 160 else f"{text[:157]}..."
