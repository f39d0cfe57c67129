"""The command line of the campaigns, and the campaign itself."""

import argparse
import datetime
import json
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

from sandbox import assembly, master, processes
from sandbox.hosts import proc
from tests.campaigns import invariants
from tests.support.upgrade_world import World

HERE = pathlib.Path(__file__).parent
STAGES = ("before", "middle", "effect", "torn", "after", "write", "written")
SECONDS = 600
# A busy machine is no fault of the product's.
PATIENCE = {
    "timeouts": {"minions": 150},
    "checks": {"timeout": 150},
    "elb": {"timeout": 150},
    "dns": {"public_timeout": 150, "timeout": 150},
    "drain": {"timeout": 150},
    "services": {"timeout": 150},
}
# What stays broken need not be waited for.
IMPATIENT = {key: dict.fromkeys(value, 20) for key, value in PATIENCE.items()}
NIGHT = ("close", "stop", "migrate", "start", "attach", "detach", "verify", "open")
# What `sandbox break` knows, and the phases in which it comes. A new release that answers 500 once
# it is open is no fault of the upgrade's; without name servers no visitor gets anywhere.
BREAKS = {
    **dict.fromkeys(("minion", "queue", "throttle", "deny"), NIGHT),
    "migration": ("close", "stop"),
    "program": ("close", "stop", "migrate"),
    "500": NIGHT[:-2],
}
# Fewer rounds of a soak say nothing of leaks.
LEAK_ROUNDS = 4
# Three failures in a row that neither kill nor fault explains: it does not go on by itself.
MOST_FAILURES = 3
FAULT = "a fault of AWS"
# What AWS answers to calls of ours, a round for each: fields of sandbox.aws.faults.Fault. The tries
# of a call are few, so that all of them can be in vain.
ATTEMPTS = 2
ANSWERS = {
    "throttled": {"error": "Throttling", "status": 400, "times": ATTEMPTS},
    "failed": {"error": "InternalFailure", "status": 500, "times": ATTEMPTS},
    "denied": {"error": "AccessDenied", "status": 403},
    "expired": {"error": "ExpiredToken", "status": 403},
    "garbled": {"rewrite": {"</": "<"}},
    "lost before": {"reset": "before"},
    "lost after": {"reset": "after"},
    "late": {"delay": 5},
}


class Campaign:
    """One sandbox under visitors, and the commands that are killed in it."""

    def __init__(self, options):
        self.options = options
        self.world = World()
        self.out = pathlib.Path(tempfile.mkdtemp(prefix="mitx-campaign-"))
        self.runs, self.failures, self.started = 0, [], time.monotonic()
        self.spoiled = 0
        self.seed(options.seed)

    def seed(self, seed):
        """Choose the points by this seed from now on, those that were struck before too."""
        options = self.options
        (self.out / "failpoint.json").write_text(
            json.dumps(
                {
                    "log": str(self.out / f"kills-{seed}.jsonl"),
                    "points": str(self.out / "points.jsonl"),
                    "stages": options.stage,
                    "mode": options.mode,
                    "share": options.share,
                    "seed": seed,
                }
            )
        )

    def up(self, point):
        """A sandbox at ``point``, and visitors."""
        say(f"bringing up a sandbox at {point}")
        words = ["--at", point] if point != "fresh" else []
        for name in ("salt_ops", "salt_extensions"):
            if getattr(self.options, name):
                words += [f"--{name.replace('_', '-')}", getattr(self.options, name)]
        status, output = self.world.sandbox("up", "--size", self.options.size, *words)
        if status:
            raise SystemExit(output[-4000:])
        origin = self.world.folder / "git" / "origin.git"
        subprocess.run(
            ["git", "-C", origin, "config", "core.logAllRefUpdates", "always"], check=True
        )
        shutil.copytree(self.world.folder / "databases", self.out / "databases")

    def watch(self, rollback=False):
        """Let visitors in; with ``rollback`` the earlier release may come back."""
        processes.stop(self.world.folder, "visitor")
        for name in ("visitor.jsonl", "visitor-summary.json"):
            (self.world.folder / name).unlink(missing_ok=True)
        words = ["--dir", str(self.world.folder), *(["--rollback"] if rollback else [])]
        assembly.daemon(self.world.config, "visitor", "sandbox.public.visitor", *words)

    def through(self, *words, **pillar):
        """Run a command, killed wherever it is due, until it is through."""
        text = json.dumps({"mitx": {**PATIENCE, **pillar}})
        command = [*words, f"pillar={text}"] if words[0] == "state.orchestrate" else list(words)
        failed = 0
        while failed < MOST_FAILURES:
            status, output, kill = self._once(command)
            if status == 0:
                return True
            failed = failed + 1 if kill is None else 0
            if kill == FAULT:
                self.failures += _untold(output)
            elif kill is None:
                self.failures.append(output[-3000:])
                say(f"FAILED, and nothing explains it:\n{output[-3000:]}")
        return False

    def _once(self, words):
        """``(exit status, output, the kill, FAULT or None)`` of one run."""
        self.runs += 1
        faults, before, began = self._hits(), len(self.kills()), time.monotonic()
        environment = master.environment(self.world.config)
        path = [str(HERE / "failpoint"), environment.get("PYTHONPATH")]
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, path))
        environment["MITX_FAILPOINT"] = str(self.out / "failpoint.json")
        with open(self.out / "run.log", "w+", encoding="utf-8") as log:
            process = subprocess.Popen(
                master.command(self.world.config, ["salt-run", *words]),
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
            try:
                status = process.wait(SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                status = f"none: it hung for {SECONDS} s"
            log.seek(0)
            output = log.read()
        kill = (self.kills()[before:] or [None])[-1]
        shown = f", killed at {kill['stage']} of {kill['point']}" if kill else ""
        hits = self._hits() - faults
        self.spoiled += hits
        shown += f", {hits} calls spoiled" if hits else ""
        say(f"run {self.runs}: {time.monotonic() - began:.0f} s, exit {status}{shown}")
        if status == -signal.SIGKILL:
            return status, output, kill
        return status, output, FAULT if hits else None

    def _hits(self):
        return sum(fault["hit"] for fault in self.world.aws.faults())

    def spoil(self, answer, number):
        """
        Let AWS answer so once to each call of this package, at its first or, by the seed, a later
        time.
        """
        chance = random.Random(f"{self.options.seed}.{number}")
        operations = sorted({(call["service"], call["operation"]) for call in self._all_of_ours()})
        say(f"AWS: {answer}, {len(operations)} operations")
        for service, operation in operations:
            self.world.aws.fault(
                agent=invariants.OURS,
                service=service,
                operation=operation,
                after=chance.choice((0, 0, 1, 3)),
                **ANSWERS[answer],
            )

    def broken(self, fault, phase, since):
        """
        Run the window, and let ``fault`` come when ``phase`` begins; afterwards it is mended.
        Returns the exit status.
        """
        over = threading.Event()

        def strike():
            while not over.wait(0.1):
                begun = [one for one in self.world.journal() if one["event"] == "phase"]
                if any(one["phase"] == phase and one["time"] > since for one in begun):
                    self.spoiled += 1
                    say(self.world.sandbox("break", fault)[1].splitlines()[0])
                    return

        striker = threading.Thread(target=strike)
        striker.start()
        text = json.dumps({"mitx": IMPATIENT})
        command = ["state.orchestrate", "orchestrate.mitx.window", f"pillar={text}"]
        status, output, _ = self._once(command)
        over.set()
        striker.join()
        say(output if status else "it went through")
        self.failures += _untold(output) if status else []
        mended, told = self.world.sandbox("mend")
        if mended:
            raise SystemExit(told)
        return status

    def kills(self):
        """What was killed, and where."""
        paths = sorted(self.out.glob("kills-*.jsonl"), key=lambda path: path.stat().st_mtime)
        return [kill for path in paths for kill in _lines(path)]

    def torn(self):
        """How many lines of the journal the campaign tore."""
        return sum(kill["stage"] == "torn" for kill in self.kills())

    def restore_databases(self):
        """As one would from the snapshot of the night."""
        for path in (self.out / "databases").iterdir():
            shutil.copy(path, self.world.folder / "databases" / path.name)

    def again(self, *words, **pillar):
        """One more run changes nothing. Returns what is wrong."""
        before = len(self._ours())
        text = json.dumps({"mitx": {**PATIENCE, **pillar}})
        status, output = self.world.salt_run(*words, f"pillar={text}")
        wrong = [f"one more run ended with {status}: {output[-2000:]}"] if status else []
        more = len(self._ours()) - before
        return wrong + ([f"one more run made {more} changes"] if more else [])

    def _ours(self):
        return [call for call in self._all_of_ours() if call["write"]]

    def _all_of_ours(self):
        return self.world.aws.calls(agent=invariants.OURS)

    def result(self, wrong):
        """Stop the visitors, and make the row of the table."""
        processes.stop(self.world.folder, "visitor")
        seen = self.world.summary()
        if not (self.kills() or self.spoiled) and self.options.stage:
            wrong = [*wrong, "nothing was killed or spoiled: this campaign proves nothing"]
        points = {(one["point"], one["stage"]) for one in _lines(self.out / "points.jsonl")}
        return {
            "campaign": self.options.campaign,
            "stages": ", ".join(self.options.stage) or "none",
            "mode": self.options.mode,
            "share": self.options.share,
            "seed": self.options.seed,
            "kills": len(self.kills()),
            "spoiled": self.spoiled,
            "points": len({point for point, _ in points}),
            "runs": self.runs,
            "minutes": round((time.monotonic() - self.started) / 60),
            "asked": seen["asked"],
            "violations": seen["violations"],
            "unexplained failures": len(self.failures),
            "wrong": wrong,
            "first violations": seen["first_violations"][:3],
        }


def prepare(campaign):
    """The days before the window, from nothing: rebase, images, fleet, dry run."""
    world = campaign.world
    campaign.up("fresh")
    campaign.watch()
    campaign.through("state.orchestrate", "orchestrate.mitx.prepare")
    return [
        *campaign.again("state.orchestrate", "orchestrate.mitx.prepare"),
        *invariants.built_once(world),
        *invariants.once(world),
        *invariants.unharmed(world),
        *invariants.dns(world, 0),
        *invariants.record(world, campaign.torn()),
    ]


def window(campaign):
    """The window alone."""
    campaign.up("prepared")
    campaign.watch()
    campaign.through("state.orchestrate", "orchestrate.mitx.window")
    wrong = campaign.again("state.orchestrate", "orchestrate.mitx.window")
    return wrong + _moved(campaign)


def _moved(campaign, since=""):
    world = campaign.world
    return [
        *invariants.serves(world, "koa", quiet="juniper"),
        *invariants.once(world, since),
        *invariants.unharmed(world, since),
        *invariants.dns(world, 2, since),
        *invariants.backups(world, since),
        *(invariants.record(world, campaign.torn()) if not since else ()),
    ]


def rollback(campaign):
    """After the window, all of it taken back: stop, restore the databases, go on."""
    campaign.up("prepared")
    status, output = campaign.world.sandbox("up", "--at", "done")
    if status:
        raise SystemExit(output[-4000:])
    campaign.watch(rollback=True)
    return _taken_back(campaign)


def _taken_back(campaign):
    since = now()
    campaign.through("mitx.rollback", "stop_only=True")
    campaign.restore_databases()
    campaign.through("mitx.rollback", "database_restored=True")
    world = campaign.world
    return [
        *invariants.serves(world, "juniper", quiet="koa"),
        *invariants.once(world, since),
        *invariants.dns(world, 2, since),
        *invariants.backups(world, since),
    ]


def soak(campaign):
    """Upgrade and rollback, again and again, killed now and then, under visitors."""
    campaign.up("prepared")
    campaign.watch(rollback=True)
    left = []
    for number in range(campaign.options.rounds):
        since = now()
        campaign.seed(f"{campaign.options.seed}.{number}")
        campaign.through("state.orchestrate", "orchestrate.mitx.window")
        wrong = _moved(campaign, since) or _taken_back(campaign)
        left.append(_resources(campaign.world))
        told = f"{wrong or 'nothing wrong'}; {left[-1]}"
        say(f"round {number + 1} of {campaign.options.rounds}: {told}")
        if wrong:
            return wrong
    return _grown(left)


def aws(campaign):
    """Window and rollback, once for each answer of AWS, which comes to every call once."""
    campaign.options.stage = list(ANSWERS)
    campaign.seed(campaign.options.seed)
    campaign.up("prepared")
    campaign.watch(rollback=True)
    # First without any: then it is known what is asked.
    for number, answer in enumerate([None, *ANSWERS]):
        since = now()
        wrong = []
        for way in (_forth, _back):
            if answer:
                campaign.spoil(answer, number)
            wrong += way(campaign, since)
            campaign.world.aws.clear_faults()
        say(f"{answer or 'undisturbed'}: {wrong or 'nothing wrong'}")
        if wrong:
            return wrong
    return []


def _forth(campaign, since):
    few = {"aws": {"attempts": ATTEMPTS}}
    campaign.through("state.orchestrate", "orchestrate.mitx.window", **few)
    return _moved(campaign, since)


def _back(campaign, _since):
    return _taken_back(campaign)


def permissions(campaign):
    """
    Each action of the policy taken away in turn: preflight names it, and nothing is changed. With
    all of them a night, its way back, another night and the retirement pass.
    """
    campaign.options.stage, world = [], campaign.world
    campaign.up("fresh")
    campaign.watch(rollback=True)
    status, output = world.salt_run("mitx.iam_policy", "--out=json")
    if status:
        raise SystemExit(output)
    policy, wrong = json.loads(output), []
    for action in sorted({one for said in policy["Statement"] for one in said["Action"]}):
        wrong += _without(campaign, policy, action)
    world.aws.enforce(policy)
    since = now()
    campaign.through("state.orchestrate", "orchestrate.mitx.prepare")
    campaign.through("state.orchestrate", "orchestrate.mitx.window", until="start")
    campaign.through("mitx.rollback", "restore=True")
    restored = now()
    campaign.through("state.orchestrate", "orchestrate.mitx.window")
    campaign.through("mitx.retire")
    left = sorted(world.fleet("juniper"))
    wrong += [f"not retired: {', '.join(left)}"] if left else []
    return [*wrong, *invariants.once(world, since, restored)]


# Without these the others cannot be asked for: that is no obstacle, and is told.
_ASKING = ("iam:SimulatePrincipalPolicy", "sts:GetCallerIdentity")


def _without(campaign, policy, action):
    """What is wrong with what is said beforehand where ``action`` is denied."""
    statements = [
        {**said, "Action": [one for one in said["Action"] if one != action]}
        for said in policy["Statement"]
    ]
    allowed = [said for said in statements if said["Action"]]
    campaign.world.aws.enforce({**policy, "Statement": allowed})
    before = len(campaign._ours())
    asking = action in _ASKING
    prepare_ = ("state.orchestrate", "orchestrate.mitx.prepare")
    status, output = campaign.world.salt_run(*(("mitx.plan",) if asking else prepare_))
    campaign.runs += 1
    wrong = [] if status or asking else ["prepare passed"]
    wrong += [] if action in output else [f"it is not named: {output[-1000:]}"]
    wrong += ["something was changed"] if len(campaign._ours()) > before else []
    say(f"without {action}: {wrong or 'named'}")
    return [f"without {action}: {one}" for one in wrong]


def _untold(output):
    """What is wrong with what a failure says."""
    wrong = [] if re.search(r"^ *Next", output, re.MULTILINE) else ["says no next command"]
    wrong += ["shows a traceback"] if "Traceback (most recent call last)" in output else []
    for one in wrong:
        say(f"FAILED, and {one}:\n{output[:6000]}")
    return [f"{one}: {output[:3000]}" for one in wrong]


def _resources(world):
    """What could leak, round by round: of master and minions, and of the run folders."""
    daemons = [name for name in processes.names(world.folder) if name.startswith("salt-")]
    sessions = {processes.read(world.folder, name)["pid"] for name in daemons}
    mine = [pid for pid in proc.pids() if (proc.stat(pid) or {}).get("session") in sessions]
    return {
        "processes": len(mine),
        "descriptors": sum(_descriptors(pid) for pid in mine),
        "MiB": sum(_resident(pid) for pid in mine) // 2**20,
        "bytes of runs": sum(path.stat().st_size for path in (world.folder / "run").rglob("*")),
    }


def _descriptors(pid):
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return 0


def _resident(pid):
    try:
        return int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf(
            "SC_PAGE_SIZE"
        )
    except OSError:
        return 0


def _grown(left):
    """
    What grows by more than a quarter from the second round to the last leaks. (In the first Salt
    loads what it needs.) The run folders grow, by what is done.
    """
    if len(left) < LEAK_ROUNDS:
        return []
    return [
        f"{what} grew from {left[1][what]} to {left[-1][what]} in {len(left)} rounds"
        for what in ("processes", "descriptors", "MiB")
        if left[-1][what] > left[1][what] * 1.25
    ]


def hosts(campaign):
    """
    Window and rollback, once for each fault of a host, a server or AWS (``sandbox break``), which
    comes in the middle of a phase, by the seed.
    """
    campaign.options.stage = list(BREAKS)
    campaign.seed(campaign.options.seed)
    campaign.up("prepared")
    campaign.watch(rollback=True)
    for number, (fault, phases) in enumerate(BREAKS.items()):
        since = now()
        phase = random.Random(f"{campaign.options.seed}.{number}").choice(phases)
        status = campaign.broken(fault, phase, since)
        campaign.through("state.orchestrate", "orchestrate.mitx.window")
        wrong = _moved(campaign, since) or _taken_back(campaign)
        say(f"{fault} in {phase}, exit {status}, then: {wrong or 'nothing wrong'}")
        if wrong:
            return wrong
    return []


CAMPAIGNS = {
    "prepare": prepare,
    "window": window,
    "rollback": rollback,
    "soak": soak,
    "aws": aws,
    "hosts": hosts,
    "permissions": permissions,
}


def table_row(result):
    """The result as a row of docs/reliability.md."""
    good = not (result["wrong"] or result["violations"] or result["unexplained failures"])
    cells = [
        datetime.date.today().isoformat(),
        f"{result['campaign']}, {result['mode']}, {result['stages']}",
        f"{result['share']:g} / {result['seed']}",
        f"{result['spoiled']} calls spoiled"
        if result["spoiled"]
        else f"{result['kills']} at {result['points']} points",
        f"{result['runs']} in {result['minutes']} min",
        result["asked"],
        result["violations"],
        "nothing" if good else "; ".join(result["wrong"]) or "see the violations",
    ]
    return "| " + " | ".join(str(cell) for cell in cells) + " |\n"


def now():
    """The time as AWS's log and the journal write it."""
    return datetime.datetime.now(datetime.timezone.utc).isoformat()


def say(text):
    """Print one line with the time."""
    print(time.strftime("%H:%M:%S"), text, flush=True)


def _lines(path):
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    return [json.loads(line) for line in text.splitlines()]


def main():
    """Run one campaign; exit 1 where something is wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.campaigns", description=__doc__)
    parser.add_argument("campaign", choices=CAMPAIGNS)
    parser.add_argument("--stage", default="before,effect", help=", ".join(STAGES) + " or none")
    parser.add_argument("--mode", choices=("group", "leader"), default="group")
    parser.add_argument("--share", type=float, default=1.0, help="of the points, by the seed")
    parser.add_argument("--seed", default="0")
    parser.add_argument("--size", default="qa")
    parser.add_argument("--salt-ops", help="a checkout: MITx's own four orchestrations")
    parser.add_argument("--salt-extensions", help="a checkout of that")
    parser.add_argument("--rounds", type=int, default=10, help="of a soak")
    parser.add_argument("--table", type=pathlib.Path, help="add the result to this table")
    parser.add_argument("--keep", action="store_true", help="leave the sandbox standing")
    options = parser.parse_args()
    options.stage = [] if options.stage == "none" else options.stage.split(",")
    unknown = set(options.stage) - set(STAGES)
    if unknown:
        parser.error(f"unknown stage: {', '.join(sorted(unknown))}")
    campaign = Campaign(options)
    try:
        result = campaign.result(CAMPAIGNS[options.campaign](campaign))
    finally:
        if not options.keep:
            campaign.world.down()
            shutil.rmtree(campaign.out)
    print(json.dumps(result, indent=1))
    if options.table:
        with open(options.table, "a", encoding="utf-8") as table:
            table.write(table_row(result))
    return bool(result["wrong"] or result["violations"] or result["unexplained failures"])


if __name__ == "__main__":
    sys.exit(main())
