"""
What happened, for whoever stands at the terminal: phases from the run's journal, visitors, calls,
where things are.
"""

import collections
import json
import pathlib

from sandbox import git_history


def upgrade(config, since, seconds, status):
    """
    The summary after ``upgrade``: text. since: UTC time (ISO 8601) it began; status: exit status of
    salt-run.
    """
    journal = run_journal(config)
    mine = [line for line in journal["lines"] if line["time"] >= since]
    parts = [
        _title(config, seconds, status),
        phases(mine)
        or ["No phase ran: nothing was left to do." if status == 0 else "No phase ran."],
        visitors(config),
        calls(config, since),
        places(config, journal["folder"]),
    ]
    return "\n\n".join("\n".join(part) for part in parts)


def _title(config, seconds, status):
    outcome = "done" if status == 0 else f"FAILED (salt-run ended with {status})"
    return [f"Upgrade of {config['environment']} to Koa: {outcome}, {seconds:.0f} s"]


def run_journal(config):
    """The youngest run of the environment: {folder: path or None, lines: [journal lines]}."""
    folders = [
        path.parent
        for path in pathlib.Path(config["paths"]["run"], config["environment"]).glob("*/run.json")
    ]
    if not folders:
        return {"folder": None, "lines": []}
    folder = max(folders, key=lambda path: json.loads((path / "run.json").read_text())["began"])
    return {"folder": folder, "lines": read_lines(folder / "journal.jsonl")}


def read_lines(path):
    """The lines of a JSON lines file as dicts; a last line cut short is left out."""
    try:
        text = pathlib.Path(path).read_text(errors="replace")
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in text.split("\n")[:-1] if line.endswith("}")]


def phases(lines):
    """One line a phase, in the order in which they ended: name, outcome, seconds."""
    ended = [
        line for line in lines if line.get("event") == "phase" and line.get("status") != "started"
    ]
    return [_phase(line) for line in ended]


def _phase(line):
    seconds = line.get("seconds")
    took = f"{seconds:6.1f} s" if isinstance(seconds, (int, float)) else " " * 8
    error = f"  {line['error']}" if line.get("error") else ""
    return f"  {line['phase']:<10} {line['status']:<9} {took}{error}"


def visitors(config):
    """What visitors saw. ``violations: N`` stands on a line of its own."""
    seen = visitor_summary(config)
    if not seen:
        return ["visitors: none were there"]
    lines = [
        (
            f"visitors: {seen['asked']} answers, {seen['per_second']} a second, over"
            f" {len(seen['hostnames'])} host names: {seen['site']} the site, {seen['page']} the"
            " maintenance page"
        ),
        (
            f"window as visitors saw it: {seen['window']['seconds']} s"
            if seen["window"]
            else "no visitor saw a maintenance page"
        ),
        *([f"stalls of this machine: {seen['stalls']}"] if seen.get("stalls") else []),
        f"violations: {seen['violations']}",
    ]
    for one in seen["first_violations"][:5]:
        lines.append(
            f"  {one['time']} {one['host']}: {one['reason']} (status {one['status']},"
            f" {one['target']})"
        )
    return lines


def visitor_summary(config):
    """The content of ``visitor-summary.json``, or None."""
    try:
        return json.loads((pathlib.Path(config["directory"]) / "visitor-summary.json").read_text())
    except FileNotFoundError:
        return None


def calls(config, since):
    """How often AWS was asked and changed, by whom."""
    counted = collections.Counter()
    for line in read_lines(pathlib.Path(config["paths"]["aws"]) / "calls.jsonl"):
        if line["time"] >= since:
            counted[line["agent"], line["write"]] += 1
    agents = sorted({agent for agent, _ in counted}, key=str)
    if not agents:
        return ["AWS: not asked"]
    named = {
        "saltext-mitx": "this package",
        "sandbox-cloud": "salt-cloud and the existing orchestrations",
    }
    return [
        f"AWS: {named.get(agent, agent)}: {counted[agent, False]} reads, {counted[agent, True]}"
        " changes"
        for agent in agents
    ]


def places(config, run):
    """Where to look."""
    directory = pathlib.Path(config["directory"])
    tip = git_history.tip(config["paths"]["git"], "mitx/koa")
    return [
        f"the run's record:     {run or '(no run)'}",
        f"visitors' answers:    {directory / 'visitor.jsonl'}",
        f"calls to AWS:         {directory / 'aws' / 'calls.jsonl'}",
        f"hosts and their logs: {directory / 'hosts'}, {directory / 'logs'}",
        f"mitx/koa at origin:   {tip}",
        f"look around:          {config['python']} -m sandbox salt-run mitx.status",
    ]
