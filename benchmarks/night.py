"""
What a night in the sandbox costs: the window's seconds by phase, its own and those in which it
waits for others, and what the commands cost that only look or find nothing to do, beside
``salt-run test.arg``, which does nothing either. ``python benchmarks/night.py [--json FILE]
[--sizes qa,production]``
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from sandbox import assembly, master  # noqa: E402

WINDOW = ("close", "stop", "migrate", "start", "attach", "detach", "verify", "open")
TIMES = 3
NOTHING = ["salt-run", "test.arg"]
BEFORE = {
    "plan": ["salt-run", "mitx.plan"],
    "announce, dry": ["salt-run", "mitx.announce", "test=True"],
}
AFTER = {
    "status": ["salt-run", "mitx.status"],
    "maintenance status": ["salt-run", "mitx.maintenance", "status"],
    "the upgrade once more": ["salt-run", "mitx.upgrade"],
}


def call(config, words):
    """Run a command that must end well; returns what it printed."""
    done = master.run(config, words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(
            f"{' '.join(words)} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
        )
    return done.stdout


def seconds(config, words):
    """The median of how long a command took."""
    taken = []
    for _ in range(TIMES):
        began = time.monotonic()
        call(config, words)
        taken.append(time.monotonic() - began)
    return statistics.median(taken)


def costs(config, commands, nothing):
    """How long each command takes, as a multiple of Salt's own start."""
    return [
        {"command": name, "ratio": round(seconds(config, words) / nothing, 1)}
        for name, words in commands.items()
    ]


def window(config):
    """For each phase its seconds, how many are its own, and its share of the window."""
    page = json.loads(call(config, ["salt-run", "mitx.report", "--out=json"]))["page"]
    durations = json.loads(pathlib.Path(page).with_suffix(".json").read_text())["durations"]
    whole = sum(durations[phase]["seconds"] for phase in WINDOW)
    return [
        {
            "phase": phase,
            "seconds": durations[phase]["seconds"],
            "own": round(durations[phase]["seconds"] - sum(durations[phase]["waited"].values()), 1),
            "share": round(durations[phase]["seconds"] / whole, 2),
        }
        for phase in WINDOW
    ]


def measure(directory, size):
    """All of one size."""
    try:
        config = assembly.up(directory, size)
        nothing = seconds(config, NOTHING)
        commands = costs(config, BEFORE, nothing)
        call(config, ["salt-run", "mitx.upgrade"])
        commands += costs(config, AFTER, nothing)
        return {"size": size, "window": window(config), "commands": commands}
    finally:
        assembly.down(directory)


def show(row):
    """Print the two tables of one size."""
    whole = sum(one["seconds"] for one in row["window"])
    own = sum(one["own"] for one in row["window"])
    print(f"\n{row['size']}: a window of {whole:.1f} s, of that its own {own:.1f} s")
    for one in row["window"]:
        took = f"{one['seconds']:>6} s, its own {one['own']:>5} s"
        print(f"{one['share']:>7.0%}  {one['phase']:<8} {took}")
    print("times salt-run test.arg")
    for one in row["commands"]:
        print(f"{one['ratio']:>6}x  {one['command']}")


def main():
    """Measure, print, and write the JSON that was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE")
    parser.add_argument("--sizes", default="qa,production", help="of the sandbox, by comma")
    arguments = parser.parse_args()
    rows = []
    for size in arguments.sizes.split(","):
        with tempfile.TemporaryDirectory() as folder:
            rows.append(measure(pathlib.Path(folder) / "sandbox", size))
        show(rows[-1])
    if arguments.json:
        arguments.json.write_text(json.dumps({"benchmark": "night", "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
