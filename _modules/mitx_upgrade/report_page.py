"""
The report of a run as one page: good on a phone, on paper, and in ten years
============================================================================

Self-contained HTML, made of the run record and its journal, in which secrets are masked already;
written into the run's folder whenever a phase ends, failed ones too.
"""

import datetime
import json
import re

import jinja2
import markupsafe

from mitx_run import events, journal, phases, record

FILE = "report.html"

_COLOURS = {"finished": "#1b7f4d", "failed": "#b3261e", "started": "#8a6d00"}

_ROW, _LEFT, _WIDTH = 22, 90, 880

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Upgrade {{ run.id }}</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 62rem; padding: 1rem }
body { color: #1d1d1f; background: #fff; overflow-wrap: anywhere }
h1 { font-size: 1.5rem } h2 { font-size: 1.15rem; margin-top: 2rem }
table { border-collapse: collapse; width: 100%; font-size: .9rem }
th, td { text-align: left; vertical-align: top; padding: .3rem .5rem }
th, td { border-bottom: 1px solid #d2d2d7; overflow-wrap: normal }
td:last-child { overflow-wrap: anywhere; min-width: 12rem }
code { font-size: .9em; overflow-wrap: anywhere }
.wide { overflow-x: auto } svg { max-width: 100%; height: auto; min-width: 40rem }
.time { white-space: nowrap }
.failed { color: #b3261e; font-weight: 600 }
@media print {
body { max-width: none; padding: 0; font-size: 11pt }
svg { min-width: 0 } .wide { overflow: visible } .time { white-space: normal }
}
</style>
</head>
<body>
<main>
<h1>Upgrade of {{ run.environment }}: {{ state }}</h1>
<p>Run <code>{{ run.id }}</code>,
begun by {{ run.by }} on {{ run.host }} at {{ run.began | moment }} UTC.
{% if why %}<br>{{ why }}{% endif %}<br>Next: <code>{{ next }}</code></p>

<h2>Timeline</h2>
<div class="wide" tabindex="0" role="region" aria-label="Timeline">{{ timeline }}</div>
<div class="wide" tabindex="0" role="region" aria-label="Phases">
<table>
<thead><tr>
<th scope="col">phase</th><th scope="col">began (UTC)</th><th scope="col">seconds</th>
<th scope="col">became</th>
</tr></thead>
<tbody>
{% for one in attempts %}<tr>
<th scope="row">{{ one.phase }}</th><td class="time">{{ one.began | moment }}</td>
<td>{{ one.seconds }}</td>
<td{% if one.status == "failed" %} class="failed"{% endif %}>{{ one.status }}
{%- if one.error %}: {{ one.error }}{% endif %}</td>
</tr>
{% endfor %}</tbody>
</table>
</div>

<h2>From the patch to the load balancer</h2>
<table>
<tbody>
{% for what, values in chain.items() %}<tr>
<th scope="row">{{ what }}</th>
<td>{% for value in values %}<code>{{ value }}</code><br>{% else %}not recorded{% endfor %}</td>
</tr>
{% endfor %}</tbody>
</table>

{% for title, lines in sections.items() %}<h2>{{ title }}</h2>
{% if lines %}<ul>
{% for line in lines %}<li>{{ line }}</li>
{% endfor %}</ul>{% else %}<p>none</p>{% endif %}
{% endfor %}
</main>
</body>
</html>
"""


def write(run, begun, found):
    """
    Write the page into the run's folder, and the same as JSON and Markdown. Returns the path of the
    page.
    ``found`` is what ``situation.current`` says.
    """
    told = data(run, begun, found)
    record.capture(run, "report.json", json.dumps(told, indent=1, default=str))
    record.capture(run, "report.md", markdown(told))
    return record.capture(run, FILE, render(told))


def data(run, begun, found):
    """
    Return what the report tells: ``{run, state, why, next, attempts: [{phase, began, ended,
    seconds, status, error}], durations: as of ``phases.durations``, chain: {what: [texts]},
    sections: {title: [sentences]}}``.
    """
    lines = events.read(run)
    return {
        "run": {key: begun[key] for key in ("id", "environment", "by", "host", "began")},
        **{key: found[key] for key in ("state", "why", "next")},
        "attempts": _attempts(lines),
        "durations": phases.durations(run),
        "chain": _chain(run),
        "sections": _sections(lines),
    }


def render(told):
    """
    Return the page of :py:func:`data`.
    """
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    environment.filters["moment"] = lambda text: text[:19].replace("T", " ")
    timeline = markupsafe.Markup(_timeline(told["attempts"])) if told["attempts"] else ""
    return environment.from_string(_PAGE).render(**told, timeline=timeline)


def markdown(told):
    """
    Return the same as :py:func:`render`, for a ticket or a wiki.
    """
    run = told["run"]
    lines = [
        f"# Upgrade of {run['environment']}: {told['state']}",
        "",
        f"Run `{run['id']}`, begun by {_plain(run['by'])} on {_plain(run['host'])} at"
        f" {run['began']}.",
        *([_plain(told["why"])] if told["why"] else []),
        f"Next: `{told['next']}`",
        "",
        "| phase | began (UTC) | seconds | became |",
        "|---|---|---|---|",
    ]
    for one in told["attempts"]:
        error = f": {one['error']}" if one["error"] else ""
        cells = (one["phase"], one["began"][:19], one["seconds"], f"{one['status']}{error}")
        lines.append(f"| {' | '.join(_plain(cell) for cell in cells)} |")
    sections = {"From the patch to the load balancer": _chained(told["chain"]), **told["sections"]}
    for title, listed in sections.items():
        lines += ["", f"## {title}", "", *(f"- {_plain(line)}" for line in listed or ["none"])]
    return "\n".join([*lines, ""])


def _chained(chain):
    return [f"{what}: {', '.join(values) or 'not recorded'}" for what, values in chain.items()]


def _plain(text):
    """What means something to Markdown, as itself; on one line."""
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", " ".join(str(text).split()))


def _attempts(lines):
    found, begun = [], {}
    for line in (line for line in lines if line["event"] == "phase"):
        if line["status"] == "started":
            if line["phase"] in begun:
                found.append(_broke_off(line["phase"], begun[line["phase"]], line["time"]))
            begun[line["phase"]] = line["time"]
        elif line["status"] in ("finished", "failed"):
            found.append(_attempt(line, begun.pop(line["phase"], line["time"])))
    found += [_broke_off(phase, time, None) for phase, time in begun.items()]
    return [{"error": "", **one} for one in sorted(found, key=lambda one: one["began"])]


def _broke_off(phase, began, ended):
    """Killed: nobody wrote down when."""
    return {
        "phase": phase,
        "began": began,
        "ended": ended,
        "seconds": "",
        "status": "broke off",
    }


def _attempt(line, began):
    error = (str(line.get("error") or "").splitlines() or [""])[0]
    return {
        "phase": line["phase"],
        "began": began,
        "ended": line["time"],
        "seconds": line.get("seconds") or "",
        "status": line["status"],
        "error": error,
    }


def _chain(run):
    fleet = record.pinned(run, "new_fleet") or []
    images = record.pinned(run, "images") or {}
    balancers = {}
    for elb in run.settings["elbs"]:
        wanted = ("edx", elb["purpose"])
        names = [one["name"] for one in fleet if (one["role"], one["purpose"]) == wanted]
        balancers[elb["name"]] = names
    return {
        "release branch": [run.settings["release"]["branch"]],
        "commit": [record.pinned(run, "release_sha") or ""],
        "AMIs": [f"{role}: {image}" for role, image in images.items()],
        "instances": [f"{one['name']} ({one['id']})" for one in fleet],
        "load balancers": [f"{name}: {', '.join(names)}" for name, names in balancers.items()],
        "old fleet": [
            f"{one['name']} ({one['id']})" for one in record.pinned(run, "old_fleet") or []
        ],
    }


def _sections(lines):
    by_event = {}
    for line in lines:
        by_event.setdefault(line["event"], []).append(line)

    def told(event, text):
        return [text.format_map(_Gaps(line)) for line in by_event.get(event, ())]

    return {
        "Approvals": told("approved", "{time}: {by}. {note}"),
        "Migrations": told("migrations", "{time}: unapplied {unapplied}; output: {output}"),
        "Backups and restores": [
            *told("backed_up", "{time}: {sls}"),
            *told("snapshot", "{time}: snapshot {id}"),
            *told("restored", "{time}: restored by {sls}"),
        ],
        "MITx's own orchestrations": [
            f"{line['time']}: {line['sls']} {line['stage']}, {line.get('output') or ''}"
            for line in by_event.get("existing", ())
            if line["stage"] != "before"
        ],
        "Waited for": told("wait", "{waits_for}: {what}, {seconds} s"),
        "Workers that could not be fenced": told("not_held", "{minions}"),
        "Waived": [
            *told("drain_waived", "{time}: queues not empty: {depths}"),
            *told("forced", "{time}: the lock of {holder}"),
            *told("nothing_to_save", "{time}: nothing to save on the old hosts"),
        ],
        "Changes, in their order": [
            f"{line['time']}: {journal.summary(line)}"
            for line in lines
            if line.get("stage") == "after"
            and line["event"] in ("aws", "minions", "git", "mail", "notify")
        ],
    }


class _Gaps(dict):
    """A line of an earlier version may lack what a later one has."""

    def __missing__(self, key):
        return ""


def _timeline(attempts):
    """A bar for each attempt of a phase, and when visitors saw the page."""
    moments = [_moment(one[key]) for one in attempts for key in ("began", "ended") if one[key]]
    first, last = min(moments), max(moments)
    scale = _WIDTH / max((last - first).total_seconds(), 1)

    def x(time):
        return round(_LEFT + (_moment(time) - first).total_seconds() * scale, 1)

    rows = list(dict.fromkeys(one["phase"] for one in attempts))
    height = _ROW * len(rows) + 30
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_LEFT + _WIDTH + 10} {height}"'
        ' role="img" aria-label="When each phase ran">'
    ]
    parts += [
        f'<rect x="{x(begin)}" y="0" width="{max(x(end) - x(begin), 1)}" height="{height - 26}"'
        ' fill="#f0e6c8"/>'
        for begin, end in _page_shown(attempts, last)
    ]
    for number, phase in enumerate(rows):
        y = number * _ROW
        parts.append(f'<text x="0" y="{y + 15}" font-size="12">{phase}</text>')
        for one in (one for one in attempts if one["phase"] == phase):
            begin, end = x(one["began"]), x(one["ended"] or last.isoformat())
            parts.append(_bar(one, begin, max(end - begin, 2), y + 4))
    span = f"{first:%H:%M:%S} to {last:%H:%M:%S} UTC"
    parts.append(
        f'<text x="{_LEFT}" y="{height - 8}" font-size="12">{span}; shaded: visitors saw the'
        " maintenance page</text></svg>"
    )
    return "".join(parts)


def _bar(attempt, x, width, y):
    colour = _COLOURS.get(attempt["status"], _COLOURS["started"])
    title = f"<title>{attempt['phase']} {attempt['status']}</title>"
    return (
        f'<rect x="{x}" y="{y}" width="{width}" height="{_ROW - 8}" fill="{colour}">{title}</rect>'
    )


def _page_shown(attempts, last):
    spans, begun = [], None
    for one in attempts:
        if one["status"] == "finished" and one["phase"] == "close":
            begun = begun or one["ended"]
        elif one["status"] == "finished" and one["phase"] in ("open", "rollback") and begun:
            spans.append((begun, one["ended"]))
            begun = None
    return [*spans, *([(begun, last.isoformat())] if begun else [])]


def _moment(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))
