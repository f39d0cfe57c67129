"""
What must be true of the sandbox after a campaign, seen from outside of the product: by the log of
AWS, by what the hosts wrote, by the machine itself. Each function returns a list of sentences: what
is wrong.
"""

import collections
import datetime
import json
import time

from sandbox import pillar

OPENEDX = {"lms", "cms", "lms_worker", "cms_worker", "gitreload"}
# Salt Cloud: by the sandbox's driver, or by Salt's own of EC2.
CLOUD = ("sandbox-cloud", "python-requests")
OURS = "saltext-mitx"


def once(world, since="", restored=""):
    """
    Nothing was done twice, by ours or by the existing orchestrations, since a time (ISO); of the
    migrations since the databases were ``restored``, if they were.
    """
    wrong = []
    calls = [call for call in world.writes() if call["time"] >= since]
    wrong += _swapped_twice(call for call in calls if call["status"] == 200 or "fault" in call)
    made = collections.Counter(
        line["migration"] + " of " + line["database"] + ", " + line["purpose"]
        for line in world.log("migrations")
        if line["time"] >= max(since, restored)
    )
    wrong += [f"migration {key}: {n} times" for key, n in made.items() if n > 1]
    jobs = collections.Counter(
        (line["purpose"], line["job"]) for line in world.log("jobs") if line["time"] >= since
    )
    wrong += [f"job {job} of {purpose}: {n} times" for (purpose, job), n in jobs.items() if n > 1]
    return wrong


def _swapped_twice(calls):
    """Registered, or taken out, while the same was true already."""
    wrong, last = [], {}
    for call in calls:
        if call["agent"] != OURS or "_instances_" not in call["operation"]:
            continue
        key = (call["parameters"]["LoadBalancerName"], _ids(call))
        # Whether a spoiled one was carried out nobody was told.
        known = "fault" not in call
        if known and last.get(key) == call["operation"]:
            wrong.append(f"{call['operation']} {' '.join(key)}: twice")
        last[key] = call["operation"] if known else None
    return wrong


def unharmed(world, since=""):
    """No job was done by a worker that should have been fenced; no migration beside programs."""
    wrong = [
        f"job {line['job']} of {line['purpose']}: {line['evidence']}"
        for line in world.log("jobs")
        if line["time"] >= since and line.get("evidence")
    ]
    for line in world.log("migrations"):
        beside = OPENEDX & {process["process"] for process in line["alive"]}
        if line["time"] >= since and beside:
            wrong.append(f"migration {line['migration']} ran beside {', '.join(sorted(beside))}")
    return wrong


def built_once(world):
    """Seven instances of the new release were launched, of two images, and one push was made."""
    calls = [call for call in world.writes() if call["status"] == 200]
    launched = [
        call for call in calls if call["operation"] == "run_instances" and call["agent"] in CLOUD
    ]
    images = [call for call in calls if call["operation"] == "create_image"]
    wrong = [f"launches: {len(launched)}, not 7"] if len(launched) != 7 else []
    wrong += [f"images: {len(images)}, not 2"] if len(images) != 2 else []
    reflog = world.folder / "git" / "origin.git" / "logs" / "refs" / "heads" / "mitx" / "koa"
    pushes = len(reflog.read_text().splitlines()) if reflog.exists() else 0
    return wrong + ([f"pushes of mitx/koa: {pushes}, not 1"] if pushes != 1 else [])


def serves(world, codename, quiet):
    """One fleet serves and works, the other is quiet, every name leads to the site."""
    wrong = []
    here, there = world.fleet(codename), world.fleet(quiet)
    names = {id_: instance["name"] for id_, instance in world.instances().items()}
    if (len(here), len(there)) != (5, 5):
        wrong.append(f"instances: {len(here)} of {codename}, {len(there)} of {quiet}; 5 of each")
    web = {id_ for id_ in here if "worker" not in names[id_]}
    if world.serving() != web:
        wrong.append(f"load balancers hold {sorted(world.serving())}, not {sorted(web)}")
    alive = world.alive()
    idle = [names[id_] for id_ in here if not OPENEDX & set(alive.get(id_, ()))]
    busy = [names[id_] for id_ in there if OPENEDX & set(alive.get(id_, ()))]
    wrong += [f"{name} of {codename} is quiet" for name in idle]
    wrong += [f"{name} of {quiet} works" for name in busy]
    return wrong + on_the_page(world)


def on_the_page(world):
    """Every name leads to the site."""
    return [
        f"{name} leads to the page"
        for name, target in world.records().items()
        if target.endswith("cloudfront.net")
    ]


def backups(world, since=""):
    """
    No backup of the master's schedule began between the end of `close` and the beginning of `open`
    or of a rollback's last step, and they go on.
    """

    def began():
        return [int(line) for line in pillar.backups(world.config).read_text().split()]

    closed, wrong = None, []
    for line in world.journal():
        if line["event"] != "phase" or line["time"] < since:
            continue
        second = datetime.datetime.fromisoformat(line["time"]).timestamp()
        if (line["phase"], line["status"]) == ("close", "finished"):
            closed = second
        elif closed and line["phase"] in ("open", "rollback") and line["status"] == "started":
            wrong += [f"a backup at {one}" for one in began() if closed + 1 < one < second]
            closed = None
    now, deadline = time.time(), time.monotonic() + 60
    while time.monotonic() < deadline:
        if began()[-1] > now:
            return wrong
        time.sleep(0.5)
    return [*wrong, "the master's schedule is held for good"]


def dns(world, changes, since=""):
    """That many batches of DNS were applied."""
    found = [
        call
        for call in world.writes()
        if call["operation"] == "change_resource_record_sets"
        and (call["agent"], call["status"]) == (OURS, 200)
        and "fault" not in call
        and call["time"] >= since
    ]
    return [] if len(found) == changes else [f"batches of DNS: {len(found)}, not {changes}"]


def record(world, torn):
    """The journal can be read, but for the lines that the campaign tore; no phase ended twice."""
    path = max((world.folder / "run").glob("*/*/journal.jsonl"), key=lambda p: p.stat().st_mtime)
    broken, finished = 0, collections.Counter()
    for text in path.read_text(errors="replace").splitlines():
        try:
            line = json.loads(text)
        except ValueError:
            broken += bool(text)
            continue
        if (line.get("event"), line.get("status")) == ("phase", "finished"):
            finished[line["phase"]] += 1
    wrong = [f"{broken} lines of {path} are unreadable, {torn} were torn"] if broken > torn else []
    return wrong + [f"phase {name} finished {n} times" for name, n in finished.items() if n > 1]


def _ids(call):
    return ", ".join(sorted(one["InstanceId"] for one in call["parameters"]["Instances"]))
