"""
Everything that the phases of a run need, looked at before anything is changed
==============================================================================
"""

import hashlib
import importlib.util
import os
import pathlib
import re

import salt.loader
from salt.exceptions import CommandExecutionError

EXISTING = (
    "orchestrate.edx.build_ami",
    "orchestrate.edx.update_edxapp_ami_sdb",
    "orchestrate.edx.deploy",
    "orchestrate.aws.mitx_elb",
)
# What this package itself calls of what a master may lack.
FUNCTIONS = ("cloud.destroy", "sdb.get")
_COMMENT = re.compile(r"{#.*?#}", re.DOTALL)
# In the source of an SLS: functions called while it renders, its states, and the runners that it starts.
_CALLED = re.compile(r"\bsalt(?:\.([a-z]\w+\.\w+)\(|\[['\"]([a-z]\w+\.\w+)['\"]\])")
_STATES = re.compile(r"^ {2}(?: {2})?([a-z]\w+\.[a-z]\w+): *$", re.MULTILINE)
_RUNNERS = re.compile(r"salt\.runner: *\n +- name: *(\w+\.\w+)|saltutil\.runner *\n +- arg: *\n +- (\w+\.\w+)")


def __virtual__():
    return True


def problems():
    """
    Return what stands in the way of a run: ``{subject: [sentences]}``, empty when nothing does. Changes nothing. All subjects are
    looked at, whatever the ones before have found.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd mitx_preflight.problems with_pillar=True
    """
    settings = __salt__["mitx_settings.get"]()
    found = {}
    for subject, look in _SUBJECTS.items():
        try:
            sentences = look(settings)
        except CommandExecutionError as err:
            sentences = [str(err)]
        if sentences:
            found[subject] = sentences
    return found


def notes():
    """
    Return, as sentences, what an operator should know before a run and what does not stand in its way: whose AWS account this is, and
    which of two installed copies of this package runs.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd mitx_preflight.notes with_pillar=True
    """
    identity = __salt__["mitx_aws.account"]()
    return [f"AWS account {identity['account']} as {identity['arn']}, at {identity['endpoint']}", *_twice_installed()]


def _window(settings):
    if not settings["window"].get("start_utc"):
        return [f"mitx:environments:{settings['environment']}:window:start: missing; a run is known by its window"]
    if settings["window"].get("force"):
        return []
    __salt__["mitx_window.upcoming"](settings)
    return []


def _record(settings):
    path = os.path.dirname(__salt__["mitx_run.folder"]())
    while not os.path.exists(path):
        path = os.path.dirname(path)
    return [] if os.access(path, os.W_OK) else [f"{path} cannot be written by this user; set pillar mitx:run_dir"]


def _existing(settings):
    here = set(__salt__["cp.list_states"]())
    return [f"{sls} is not in the master's file_roots" for sls in EXISTING if sls not in here]


def _modules(settings):
    """
    Salt 3007 and 3008 have not everything that the existing orchestrations use, and some 3006 do not load it. Their source says what
    that is; what they run on minions is not looked at.
    """
    found = [f"this master does not load {name}" for name in FUNCTIONS if name not in __salt__]
    # Asked for one by one: a loader reads only what is asked for, and sys.list_state_functions takes ten seconds.
    states, runners = salt.loader.states(__opts__, __salt__, {}, None), salt.loader.runner(__opts__)
    for sls in EXISTING:
        source = _source_of(sls)
        called = {one or other for one, other in _CALLED.findall(source)}
        missing = sorted(name for name in called if name not in __salt__)
        missing += sorted(name for name in set(_STATES.findall(source)) if name not in states)
        missing += sorted(name for name in {one or other for one, other in _RUNNERS.findall(source)} if name not in runners)
        found += [f"this master does not load {name}, which {sls} uses" for name in missing]
    return found


def _source_of(sls):
    path = sls.replace(".", "/")
    texts = (__salt__["cp.get_file_str"](f"salt://{path}{end}") for end in (".sls", "/init.sls"))
    return _COMMENT.sub("", next((text for text in texts if text), ""))


def _twice_installed():
    """Copies that were synced into extmods shadow those of pip: an old one would run, and nobody would know."""
    here = pathlib.Path(__file__).parent
    installed = next((folder for folder in _installed_by_pip() if folder.is_dir()), here)
    mine, theirs = _digests(here), _digests(installed)
    differing = sorted(name for name in mine | theirs if mine.get(name) != theirs.get(name))
    if not differing:
        return []
    return [
        f"installed twice, and differently: Salt runs {here}, which shadows {installed}; other there: {', '.join(differing)}. "
        "Uninstall the one, or bring both to the same version (salt-run saltutil.sync_all)"
    ]


def _installed_by_pip():
    try:
        package = importlib.util.find_spec("saltext.mitx.modules")
    except ModuleNotFoundError:
        return []
    return [pathlib.Path(path).resolve() for path in (package.submodule_search_locations if package else None) or ()]


def _digests(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob("mitx_*.py")}


def _settings_source(settings):
    # Later phases get along with what was kept of it; the existing orchestrations do not.
    __salt__["mitx_settings.get"](fresh=True)
    return []


def _queues(settings):
    """In the window, with the site closed, it would be late to find out that nobody can tell how many jobs wait."""
    if not settings["drain"]["command"]:
        path = f"mitx:environments:{settings['environment']}:drain"
        return (
            []
            if settings["drain"]["waive"]
            else [f"{path}:command: missing, so nobody can tell when the queues are empty; or {path}:waive"]
        )
    fleet = [
        one for one in __salt__["mitx_fleet.current"](settings) if one["state"] == "running" and one["name"] and one["serves"]
    ]
    if fleet:
        __salt__["mitx_queues.depths"](fleet, settings)
    return []


def _account(settings):
    identity = __salt__["mitx_aws.account"]()
    wanted = settings["aws"]["account"]
    if wanted and identity["account"] != wanted:
        return [
            f"these credentials belong to the account {identity['account']}, not to {wanted} (endpoint {identity['endpoint']})"
        ]
    return []


def _sdb(settings):
    __salt__["mitx_existing.recorded_release"](settings)
    return []


def _source(settings):
    """Production is built from QA's AMIs: without them, build_ami would launch its bases from nothing."""
    if not settings["source"]:
        return []
    keys = settings["source"]["sdb"]["ami"].values()
    return [
        f"{key} holds no AMI of {settings['release']['from']}"
        for key in keys
        if not str(__salt__["sdb.get"](key)).startswith("ami-")
    ]


def _load_balancers(settings):
    described = __salt__["mitx_elb.describe"](settings)
    return [f"there is no load balancer {elb['name']}" for elb in settings["elbs"] if not described.get(elb["name"])]


def _fleet(settings):
    current = __salt__["mitx_fleet.current"](settings)
    if not current:
        return ["no instance serves these purposes"]
    nameless = [one["id"] for one in current if not one["name"]]
    if nameless:
        return [f"the load balancers hold {', '.join(nameless)}, which is no existing instance of {settings['environment']}"]
    # What EC2 has stopped is quiet as it is; it cannot be asked.
    running = [one for one in current if one["state"] != "stopped"]
    if not running:
        return ["EC2 has stopped every instance that serves these purposes"]
    # A minion of the right name on the wrong host would be stopped, migrated on and destroyed in its place.
    found = __salt__["mitx_hosts.impostors"](running)
    return found + __salt__["mitx_services.absent"]([one["name"] for one in running if one["serves"]], settings)


def _names(settings):
    taken = __salt__["mitx_fleet.taken"](settings, __salt__["mitx_existing.recorded_release"](settings) + 1)
    return [f"{one['name']} ({one['id']}) exists already: {one['why']}" for one in taken["taken"]]


def _records(settings):
    records = __salt__["mitx_dns.records"](settings)
    return [f"{name}: {record['problem']}" for name, record in records.items() if record.get("problem")]


def _page(settings):
    return [
        f"{one['point']}: {one['found']}. {one['fix']}" for one in __salt__["mitx_distribution.check"](settings) if not one["ok"]
    ]


def _mail(settings):
    return __salt__["mitx_mail.problems"](settings["announce"])


_SUBJECTS = {
    "settings": _settings_source,
    "window": _window,
    "run record": _record,
    "existing orchestrations": _existing,
    "modules": _modules,
    "AWS account": _account,
    "SDB": _sdb,
    "release": _source,
    "load balancers": _load_balancers,
    "current fleet": _fleet,
    "queues": _queues,
    "names of the new fleet": _names,
    "DNS records": _records,
    "maintenance page": _page,
    "mail": _mail,
}
