"""
Everything that the phases of a run need, looked at before anything is changed
==============================================================================
"""

import hashlib
import importlib.util
import os
import pathlib
import re
import shutil

import salt.loader
from salt.exceptions import CommandExecutionError

from mitx_fleet import elb, fleets, images
from mitx_hosts import fence, hosts, queues, schedules, services
from mitx_run import errors, folders, settings, window
from mitx_run.dunders import __opts__, __salt__
from mitx_site import checks, distribution, dns, mail
from mitx_upgrade import permissions

EXISTING = (
    "orchestrate.edx.build_ami",
    "orchestrate.edx.update_edxapp_ami_sdb",
    "orchestrate.edx.deploy",
    "orchestrate.aws.mitx_elb",
)

# What this package itself calls of what a master may lack.
FUNCTIONS = ("cloud.destroy", "sdb.get")

# MiB. A night's record with the output of its migrations is a few; a mirror of edx-platform with
# its history takes 300 to 400, and what is fetched for a release is packed beside it.
_ROOM = {"record": 100, "clone": 1000, "fetch": 200}

_COMMENT = re.compile(r"{#.*?#}", re.DOTALL)

# In the source of an SLS: functions called while it renders, its states, and the runners that it
# starts.
_CALLED = re.compile(r"\bsalt(?:\.([a-z]\w+\.\w+)\(|\[['\"]([a-z]\w+\.\w+)['\"]\])")

_STATES = re.compile(r"^ {2}(?: {2})?([a-z]\w+\.[a-z]\w+): *$", re.MULTILINE)

_RUNNERS = re.compile(
    r"salt\.runner: *\n +- name: *(\w+\.\w+)|saltutil\.runner *\n +- arg: *\n +- (\w+\.\w+)"
)


def checklist(run):
    """
    Return all that a run needs: ``{subject: {result, told}}``, ``result`` as Salt has it: True,
    False where ``told`` (sentences) stands in the way, None where it cannot be found out, which
    bars nothing. Changes nothing. All subjects are looked at, whatever the ones before have found.
    """
    return {subject: _looked_at(run, look) for subject, look in _SUBJECTS.items()}


def problems(run):
    """
    Return of :py:func:`checklist` what stands in the way: ``{subject: [sentences]}``.
    """
    found = checklist(run).items()
    return {subject: one["told"] for subject, one in found if one["result"] is False}


def _looked_at(run, look):
    try:
        told = look(run)
    except errors.NotKnown as err:
        return {"result": None, "told": [str(err)]}
    except CommandExecutionError as err:
        told = [str(err)]
    return {"result": not told, "told": told}


def notes(run):
    """
    Return, as sentences, what an operator should know before a run and what does not stand in its
    way: whose AWS account this is, and which of two installed copies of this package runs.
    """
    return [line for look in _NOTES for line in _looked_at(run, look)["told"]]


def _whose_account(run):
    identity = permissions.identity(run)
    return [f"AWS account {identity['account']} as {identity['arn']}, at {identity['endpoint']}"]


def _no_reactor(run):
    if not fence.configured(run) or fence.by_reactor():
        return []
    return [
        "new workers are fenced by a process that this command starts: were that killed in the"
        " middle of deploy, or the master rebooted, new workers would work live jobs. Let the"
        " master's reactor do it: pillar_examples/reactor.conf"
    ]


def _window(run):
    if not run.settings["window"].get("start_utc"):
        return [
            f"mitx:environments:{run.settings['environment']}:window:start: missing; a run is known"
            " by its window"
        ]
    if run.settings["window"].get("force"):
        return []
    window.upcoming(run.settings)
    return []


def _record(run):
    path = _existing_part(os.path.dirname(folders.folder(run)))
    if not os.access(path, os.W_OK):
        return [f"{path} cannot be written by this user; set pillar mitx:run_dir"]
    return _room(path, _ROOM["record"])


def _mirror(run):
    release = run.settings["release"]
    if release["from"]:
        return []
    there = os.path.isdir(release["mirror"])
    return _room(_existing_part(release["mirror"]), _ROOM["fetch" if there else "clone"])


def _existing_part(path):
    path = os.path.abspath(path)
    while not os.path.exists(path):
        path = os.path.dirname(path)
    return path


def _room(path, needed):
    free = shutil.disk_usage(path).free // 2**20
    return [f"{path}: {free} MiB are free, of {needed} that it takes"] if free < needed else []


def _existing(run):
    here = set(__salt__["cp.list_states"]())
    return [f"{sls} is not in the master's file_roots" for sls in EXISTING if sls not in here]


def _modules(run):
    """
    Salt 3007 and 3008 have not everything that the existing orchestrations use, and some 3006 do
    not load it. Their source says what that is; what they run on minions is not looked at.
    """
    found = [f"this master does not load {name}" for name in FUNCTIONS if name not in __salt__]
    # Asked for one by one: a loader reads only what is asked for, and sys.list_state_functions
    # takes ten seconds.
    states, runners = salt.loader.states(__opts__, __salt__, {}, None), salt.loader.runner(__opts__)
    for sls in EXISTING:
        source = _source_of(sls)
        called = {one or other for one, other in _CALLED.findall(source)}
        missing = sorted(name for name in called if name not in __salt__)
        missing += sorted(name for name in set(_STATES.findall(source)) if name not in states)
        wanted = {one or other for one, other in _RUNNERS.findall(source)}
        missing += sorted(name for name in wanted if name not in runners)
        found += [f"this master does not load {name}, which {sls} uses" for name in missing]
    return found


def _source_of(sls):
    path = sls.replace(".", "/")
    texts = (__salt__["cp.get_file_str"](f"salt://{path}{end}") for end in (".sls", "/init.sls"))
    return _COMMENT.sub("", next((text for text in texts if text), ""))


def _twice_installed(_run):
    """
    Copies that were synced into extmods shadow those of pip: an old one would run, and nobody would
    know.
    """
    here = pathlib.Path(__file__).parents[1]
    installed = next((folder for folder in _installed_by_pip() if folder.is_dir()), here)
    mine, theirs = _digests(here), _digests(installed)
    differing = sorted(name for name in mine | theirs if mine.get(name) != theirs.get(name))
    if not differing:
        return []
    return [
        f"installed twice, and differently: Salt runs {here}, which shadows {installed}; other"
        f" there: {', '.join(differing)}. Uninstall the one, or bring both to the same version"
        " (salt-run saltutil.sync_all)"
    ]


def _installed_by_pip():
    try:
        package = importlib.util.find_spec("saltext.mitx.modules")
    except ModuleNotFoundError:
        return []
    return [
        pathlib.Path(path).resolve()
        for path in (package.submodule_search_locations if package else None) or ()
    ]


def _digests(folder):
    files = folder.glob("mitx_*/*.py")
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


def _settings_source(run):
    # Later phases get along with what was kept of it; the existing orchestrations do not.
    settings.get(run.environment, fresh=True)
    return []


def _queues(run):
    """
    In the window, with the site closed, it would be late to find out that nobody can tell how many
    jobs wait.
    """
    if not run.settings["drain"]["command"]:
        path = f"mitx:environments:{run.settings['environment']}:drain"
        return (
            []
            if run.settings["drain"]["waive"]
            else [
                f"{path}:command: missing, so nobody can tell when the queues are empty; or"
                f" {path}:waive"
            ]
        )
    fleet = [
        one
        for one in fleets.current(run)
        if one["state"] == "running" and one["name"] and one["serves"]
    ]
    if fleet:
        queues.depths(run, fleet)
    return []


def _account(run):
    identity = permissions.identity(run)
    wanted = run.settings["aws"]["account"]
    if wanted and identity["account"] != wanted:
        return [
            f"these credentials belong to the account {identity['account']}, not to {wanted}"
            f" (endpoint {identity['endpoint']})"
        ]
    return []


def _permissions(run):
    unknown = permissions.unknown(run)
    if unknown:
        raise errors.NotKnown(unknown)
    return [f"not allowed: {one}" for one in permissions.denied(run)]


def _permissions_unknown(run):
    return list(filter(None, [permissions.unknown(run)]))


def _sdb(run):
    images.recorded_release(run.settings)
    return []


def _source(run):
    """
    Production is built from QA's AMIs: without them, build_ami would launch its bases from nothing.
    """
    if not run.settings["source"]:
        return []
    keys = run.settings["source"]["sdb"]["ami"].values()
    return [
        f"{key} holds no AMI of {run.settings['release']['from']}"
        for key in keys
        if not str(__salt__["sdb.get"](key)).startswith("ami-")
    ]


def _load_balancers(run):
    described = elb.describe(run)
    return [
        f"there is no load balancer {balancer['name']}"
        for balancer in run.settings["elbs"]
        if not described.get(balancer["name"])
    ]


def _fleet(run):
    current = fleets.current(run)
    if not current:
        return ["no instance serves these purposes"]
    nameless = [one["id"] for one in current if not one["name"]]
    if nameless:
        return [
            f"the load balancers hold {', '.join(nameless)}, which is no existing instance of"
            f" {run.settings['environment']}"
        ]
    # What EC2 has stopped is quiet as it is; it cannot be asked.
    running = [one for one in current if one["state"] != "stopped"]
    if not running:
        return ["EC2 has stopped every instance that serves these purposes"]
    # A minion of the right name on the wrong host would be stopped, migrated on and destroyed in
    # its place.
    found = hosts.identity_mismatches(run, running)
    return found + services.absent(run, [one["name"] for one in running if one["serves"]])


def _names(run):
    taken = fleets.taken(run, images.recorded_release(run.settings) + 1)
    return [f"{one['name']} ({one['id']}) exists already: {one['why']}" for one in taken["taken"]]


def _seen_records(run):
    """Asked once; each look at the world costs a call."""
    if "dns" not in run.seen:
        run.seen["dns"] = dns.records(run)
    return run.seen["dns"]


def _records(run):
    records = _seen_records(run)
    return [
        f"{name}: {record['problem']}" for name, record in records.items() if record.get("problem")
    ]


def _visitors(run):
    """What `close` will believe of visitors, asked now, in the same way and from the same place."""
    records = _seen_records(run)
    values = {name: one["value"] for name, one in records.items() if not one["problem"]}
    wrong = checks.unlike(run, values) if values else []
    if not wrong:
        return []
    return [
        *wrong,
        "close and open would wait for these in vain. A server that answers for a private zone, or"
        " refuses: name others in mitx:…:checks:resolvers and checks:authoritative. A record of"
        " another zone: mitx:…:dns:zone_id must be the public one",
    ]


def _page(run):
    return [
        f"{one['point']}: {one['found']}. {one['fix']}"
        for one in distribution.check(run)
        if not one["ok"]
    ]


def _schedule(run):
    """What `close` would hold must be there to be held."""
    schedules.plan(run, schedules.HELD)
    return []


def _mail(run):
    return mail.problems(run.settings["announce"])


_SUBJECTS = {
    "settings": _settings_source,
    "window": _window,
    "run record": _record,
    "mirror of the repository": _mirror,
    "existing orchestrations": _existing,
    "modules": _modules,
    "AWS account": _account,
    "permissions": _permissions,
    "SDB": _sdb,
    "release": _source,
    "load balancers": _load_balancers,
    "current fleet": _fleet,
    "queues": _queues,
    "names of the new fleet": _names,
    "DNS records": _records,
    "what visitors are told": _visitors,
    "maintenance page": _page,
    "schedule of the master": _schedule,
    "mail": _mail,
}

# IAM that could not be asked is told here too: `preflight` shows of its subjects what is wrong.
_NOTES = (_whose_account, _twice_installed, _permissions_unknown, _no_reactor, schedules.inside)
