"""
The functions of the rooms for tests that need no loader: each with its run, and what stands in for
another.
"""

import copy
import functools
import importlib
import inspect
import types


def takes_run(function):
    """Whether the first argument of ``function`` is the run."""
    return next(iter(inspect.signature(function).parameters), None) == "run"


def with_settings(run, args):
    """``(run, args)``: settings among the arguments become the run's."""
    for given in args:
        if isinstance(given, dict) and {"environment", "purposes"} <= set(given):
            run = copy.copy(run)
            run.settings = given
            return run, tuple(arg for arg in args if arg is not given)
    return run, args


class Room:
    """
    A file of a room, ``Room("mitx_site.checks", run)``: its functions, with the run given already
    to those that take it.
    """

    def __init__(self, name, run):
        self._file, self._run = importlib.import_module(name), run

    def __getattr__(self, name):
        found = getattr(self._file, name)
        if not inspect.isfunction(found) or not takes_run(found):
            return found

        @functools.wraps(found)
        def call(*args, **kwargs):
            run, args = with_settings(self._run, args)
            return found(run, *args, **kwargs)

        return call


def stand_in(monkeypatch, name, function):
    """From now on ``room.file.function`` is ``function``, which is called without the run."""
    place, _, attribute = name.rpartition(".")
    file = importlib.import_module(place)
    real = getattr(file, attribute)
    if not takes_run(real):
        monkeypatch.setattr(file, attribute, function)
        return

    def without_run(run, *args, **kwargs):
        return function(*args, **kwargs)

    without_run.__signature__ = inspect.signature(real)
    monkeypatch.setattr(file, attribute, without_run)


def a_run(settings=None, test=False, **more):
    """A run as the functions of the rooms see it, with no folder and no pillar behind it."""
    nothing = {"blocked_by": None, "seen": {}, "aws": {}}
    return types.SimpleNamespace(
        **{
            "settings": settings,
            "environment": "mitx-qa",
            "id": "r",
            "test": test,
            **nothing,
            **more,
        }
    )


class Modules:
    """
    What Salt's loader has loaded, ``["mitx_site.get_maintenance"]``, and what lies in the rooms
    behind it, called as if by one of those: ``["mitx_site.dns.plan"]``. What is set instead is
    taken back after the test.
    """

    def __init__(self, loader, monkeypatch=None):
        self.loader, self.monkeypatch = loader, monkeypatch

    def __contains__(self, name):
        return name in self.loader

    def __getitem__(self, name):
        if name.count(".") == 1:
            return self.loader[name]
        function = getattr(*self._place(name))

        @functools.wraps(function)
        def call(*args, **kwargs):
            return function(*self._with_run(function, args), **kwargs)

        return functools.wraps(function)(functools.partial(self.loader.run, call))

    def __setitem__(self, name, function):
        if name.count(".") == 1:
            self.loader[name] = function
        else:
            self._place(name)
            stand_in(self.monkeypatch, name, function)

    @property
    def run(self):
        """The ``Run`` that the functions of this test work on."""
        return self.loader.run(importlib.import_module("mitx_run.context").current)

    def _place(self, name):
        room, file, function = name.split(".")
        # Loaded once, Salt has put the rooms where they can be imported from.
        assert f"{room}.{'get_settings' if room == 'mitx_run' else 'ensure'}" in self.loader
        return importlib.import_module(f"{room}.{file}"), function

    def _with_run(self, function, args):
        """
        The arguments of a function in a room: first the ``Run``, with other settings where a test
        gives some.
        """
        if not takes_run(function):
            return args
        run, args = with_settings(importlib.import_module("mitx_run.context").current(), args)
        return (run, *args)
