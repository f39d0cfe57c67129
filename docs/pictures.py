"""
The pictures in docs/pictures/, of a real night in the sandbox: ``make pictures``.

What salt-run prints on a dark terminal of 100 columns, or a light one of 80, becomes an SVG, what a
browser shows a PNG.
Nothing in them is made by hand: only this machine's name and folders are replaced by a master's.
"""

import contextlib
import fcntl
import io
import json
import os
import pathlib
import pty
import re
import shlex
import socket
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time

import rich.console
import rich.terminal_theme
import rich.text
from playwright.sync_api import sync_playwright

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from sandbox import assembly, master  # noqa: E402 found by the line above
from tests.support.browser import CHROMIUM  # noqa: E402

FOLDER = ROOT / "docs/pictures"
ROWS = 60
DARK = (100, rich.terminal_theme.SVG_EXPORT_THEME)
LIGHT = (80, rich.terminal_theme.DEFAULT_TERMINAL_THEME)
SECONDS = 300
GATE = 'pillar={"mitx": {"gate": {"required": true, "timeout": 600}}}'
WINDOW = ["salt-run", "state.orchestrate", "orchestrate.mitx.window", GATE]
# mitx.watch draws each screen from the upper left corner, and gives the terminal back at its end.
_HOME, _LEFT = "\x1b[H", "\x1b[?1049l"
# Whatever a terminal is told besides colours.
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-ln-z]|\r")


class Terminal:
    """A command on a terminal of its own, so many columns wide."""

    def __init__(self, config, words, columns=DARK[0]):
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, columns, 0, 0))
        environment = {
            **master.environment(config),
            "TERM": "xterm-256color",
            "PYTHONUNBUFFERED": "1",
        }
        self._process = subprocess.Popen(
            master.command(config, words),
            env={**environment, "COLUMNS": str(columns)},
            stdin=slave,
            stdout=slave,
            stderr=slave,
        )
        os.close(slave)

        self._said = bytearray()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        # Linux ends a terminal that nobody holds any more with an error.
        with contextlib.suppress(OSError):
            while more := os.read(self._master, 65536):
                self._said += more
        os.close(self._master)

    def text(self):
        """Wait for its end and return what it has said."""
        self._process.wait(SECONDS)
        self._reader.join(SECONDS)
        return self._said.decode()


def drawn(text):
    """The last screen that mitx.watch has drawn."""
    screen = text.rpartition(_LEFT)[0] or text
    return screen.rpartition(_HOME)[2]


class Album:
    """Where the pictures of one sandbox go."""

    def __init__(self, config):
        self._config = config
        FOLDER.mkdir(exist_ok=True)

    def terminal(self, name, words, text=None, kind=DARK):
        """
        Keep what a command has said, run now unless there is a ``text``, as a picture of a kind of
        terminal.
        """
        columns, theme = kind
        text = Terminal(self._config, words, columns).text() if text is None else text
        text = self._elsewhere(_CONTROL.sub("", text)).strip("\n")
        console = rich.console.Console(record=True, width=columns, file=io.StringIO())
        for line in rich.text.Text.from_ansi(text).split():
            # As a terminal does it: at its edge, in the middle of a word.
            for piece in line.divide(range(columns, len(line), columns)):
                console.print(piece, no_wrap=True)
        svg = console.export_svg(title=shlex.join(words), theme=theme, unique_id=name)
        (FOLDER / f"{name}.svg").write_text(svg, encoding="utf-8")
        print(f"{name}.svg: {shlex.join(words)}", flush=True)

    def page(self, name, path, size):
        """Keep what a browser shows of a page."""
        html = self._elsewhere(pathlib.Path(path).read_text(encoding="utf-8"))
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            page = browser.new_page(viewport=dict(zip(("width", "height"), size, strict=True)))
            page.set_content(html)
            page.screenshot(path=FOLDER / f"{name}.png")
            browser.close()
        print(f"{name}.png: {path}", flush=True)

    def _elsewhere(self, text):
        text = text.replace(str(self._config["directory"]), "/var/lib/mitx")
        return text.replace(socket.gethostname(), "salt-master")


def asked(config, words):
    """What a command returns, as data."""
    done = master.run(config, [*words, "--out=json"], capture_output=True, text=True)
    return json.loads(done.stdout)


def until_it_waits(config):
    """Wait until the window waits for a human."""
    deadline = time.monotonic() + SECONDS
    while asked(config, ["salt-run", "mitx.status"])["state"] != "waiting":
        if time.monotonic() > deadline:
            raise SystemExit("The window does not come to its gate; see logs/ of the sandbox")


def night(directory):
    """The pictures of one night, from nothing to its report."""
    config = assembly.up(directory)
    album = Album(config)
    album.terminal("preflight", ["salt-run", "mitx.preflight"])
    album.terminal("plan", ["salt-run", "mitx.plan"])
    album.terminal("prepare", ["salt-run", "mitx.prepare"])
    window = Terminal(config, WINDOW)
    until_it_waits(config)
    album.terminal("status", ["salt-run", "mitx.status"])
    album.terminal("backstage", ["salt-run", "mitx.backstage"])
    watch = ["salt-run", "mitx.watch", "seconds=6"]
    album.terminal("watch", watch[:2], drawn(Terminal(config, watch).text()))
    album.terminal("status-light", ["salt-run", "mitx.status"], kind=LIGHT)
    narrow = drawn(Terminal(config, watch, LIGHT[0]).text())
    album.terminal("watch-light", watch[:2], narrow, LIGHT)
    album.terminal("maintenance", ["salt-run", "mitx.maintenance", "status"])
    album.terminal("refused", ["salt-run", "mitx.maintenance", "off"])
    album.terminal("approve", ["salt-run", "mitx.approve", "note=logged in, submitted a problem"])
    album.terminal("window", WINDOW, window.text())
    report = asked(config, ["salt-run", "mitx.report"])
    album.page("report", report["page"], (1200, 1400))
    preview = asked(config, ["salt-run", "mitx.page_preview"])
    album.page("page", preview["path"], (1000, 700))


def main():
    """Make all of them anew."""
    with tempfile.TemporaryDirectory() as folder:
        directory = pathlib.Path(folder) / "sandbox"
        try:
            night(directory)
        finally:
            assembly.down(directory)


if __name__ == "__main__":
    main()
