"""
Pillar to one checked, complete description of an environment
=============================================================

:py:func:`get` merges pillar ``mitx:defaults``, ``mitx:environments:<environment>`` and MITx's own
settings of that environment (pillar ``environments:<environment>``, or the YAML file or URL
``mitx:environments_source``), and returns one plain dict that holds every name the package uses
(``naming``).
"""

import copy
import hashlib
import json
import re

import salt.utils.dictupdate
import salt.utils.yaml
from salt.exceptions import CommandExecutionError, SaltException

from mitx_run import folders, journal, naming, shapes, window
from mitx_run.dunders import __context__, __opts__, __pillar__, __salt__

REQUIRED = shapes.REQUIRED

_FETCHED = "mitx_run.settings.fetched"

_NAME = re.compile(r"[a-z0-9][a-z0-9-]*\Z")

_HOSTNAME = re.compile(r"(?=.{1,253}\Z)([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)+[a-z]{2,}\Z")

_BRANCH = re.compile(r"(?!.*(\.\.|//|@\{))[A-Za-z0-9][A-Za-z0-9._/-]*\Z")


# Every key, with its type and its default. pillar_examples/mitx.sls explains each.
KEYS = {
    "purposes": (list, REQUIRED),
    "window": {
        "start": (str, None),
        "timezone": (str, None),
        "hours": ((int, float), None),
        "force": (bool, False),
        "reason": (str, "we perform routine upgrades"),
        "contact": (str, "mitx-support@mit.edu"),
        "pause_schedule": (list, []),
    },
    "aws": {
        "region": (str, "us-east-1"),
        "keyid": (str, None),
        "key": (str, None),
        "token": (str, None),
        "profile": ((str, dict), None),
        "endpoint_url": (str, None),
        "account": (str, None),
        "attempts": (int, 8),
        "read_timeout": ((int, float), 60),
    },
    "dns": {
        "zone_id": (str, REQUIRED),
        "zone": (str, "mitx.mit.edu."),
        "ttl": (int, 60),
        "timeout": ((int, float), 300),
        "public_timeout": ((int, float), 300),
        "interval": ((int, float), 5),
    },
    "maintenance": {
        "name": (str, "Residential MITx"),
        "domains": (list, ["lms", "cms", "preview"]),
        "distribution": {"id": (str, REQUIRED), "domain_name": (str, REQUIRED)},
        "bucket": (str, REQUIRED),
        "key": (str, "index.html"),
        "note": (str, None),
        "template": (str, None),
        "marker": (str, "data-mitx-maintenance"),
        "invalidation_timeout": ((int, float), 60),
    },
    "announce": {"smtp": (dict, {}), "sender": (str, None), "to": (list, [])},
    "release": {
        "from": (str, None),
        "branch": (str, None),
        "onto": (str, None),
        "upstream": (str, "https://github.com/edx/edx-platform.git"),
        "origin": (str, "https://github.com/mitodl/edx-platform.git"),
        "mirror": (str, "/var/lib/mitx/git/edx-platform.git"),
        "protocols": (list, ["https", "ssh"]),
        "runas": (str, None),
        "credentials": (dict, {}),
        "sha": (str, None),
        "committer": (dict, {"name": "MITx release", "email": "mitx-release@mit.edu"}),
        "flatten": (bool, False),
        "signing_key": (str, None),
        "timeout": ((int, float), 900),
    },
    "build": {"run_migrations": (bool, False), "purpose": (str, None)},
    "images": {"timeout": ((int, float), 3600), "interval": ((int, float), 15)},
    "services": {
        "supervisorctl": (str, "/edx/bin/supervisorctl"),
        "user": (str, "edxapp"),
        "platform": (str, "/edx/app/edxapp/edx-platform"),
        "ansible_log": (str, "/tmp/edx_config/ansible-log.txt"),
        "systemd": (dict, {"edx": ["gitreload"], "edx-worker": []}),
        "playbooks": (dict, {"edx": ["edxapp", "xqueue", "forum"], "edx-worker": ["edxapp"]}),
        "oneshot": (list, []),
        "hold": {"begin": (str, None), "end": (str, None)},
        "timeout": ((int, float), 120),
    },
    "smoke": {"states": (list, []), "timeout": ((int, float), 900)},
    "drain": {
        "command": (str, None),
        "timeout": ((int, float), 900),
        "interval": ((int, float), 5),
        "waive": (bool, False),
    },
    "migrate": {
        "before": (str, None),
        "snapshot_required": (bool, False),
        "snapshot_id": (str, None),
        "pending": (dict, REQUIRED),
        "commands": (list, REQUIRED),
        "timeout": ((int, float), 3600),
    },
    "checks": {
        "heartbeat": (str, "/heartbeat"),
        "paths": (list, []),
        "scheme": (str, "https"),
        "port": (int, 443),
        "ca_bundle": (str, None),
        "resolvers": (list, []),
        "authoritative": (list, []),
        "timeout": ((int, float), 120),
        "interval": ((int, float), 2),
        "instance": {"scheme": (str, "https"), "port": (int, 443)},
        "watch": ((int, float), 60),
    },
    "elb": {
        "polls": (int, 3),
        "interval": ((int, float), 5),
        "timeout": ((int, float), None),
        "drain_timeout": ((int, float), None),
    },
    "attach": {"without_existing": (bool, False)},
    "notify": {
        "chat": {"webhook": (str, None)},
        "downtime": {
            "url": (str, None),
            "api_key": (str, None),
            "application_key": (str, None),
            "scope": (str, None),
        },
    },
    "gate": {
        "required": (bool, True),
        "timeout": ((int, float), 3600),
        "before_window": (bool, False),
    },
    "rehearsal": {
        "required": (bool, False),
        "environment": (str, None),
        "days": ((int, float), 30),
    },
    "retire": {
        "after": ((int, float), 48),
        "timeout": ((int, float), 600),
        "before": (str, None),
        "nothing_to_save": (bool, False),
        "proof": {"bucket": (str, None), "key": (str, None)},
    },
    "rollback": {"restore": (str, None), "variables": (dict, {"RESTORE": "1"})},
    "timeouts": {
        "minions": ((int, float), 60),
        "highstate": ((int, float), 7200),
        "existing": ((int, float), 14400),
    },
}

# What is said on the command line for one command, by the runner or as pillar='{mitx: {…}}'.
_SAID = {
    "environment": str,
    "environments": dict,
    "environments_source": str,
    "defaults": dict,
    "run_dir": str,
    "run": str,
    "until": str,
    "adopt": bool,
    "retire_force": bool,
    "maintenance_to": str,
    "maintenance_force": bool,
    "announce_until": str,
    "rollback": dict,
    "release_accept": (str, list),
    "release_drop": (str, list),
    "release_carry": (str, list),
    "release_forget": (str, list),
    "release_backup": str,
    "release_resume": bool,
    "release_names": list,
    "retire_hosts": list,
}


def aws(environment=None):
    """
    Return ``mitx:…:aws`` of the environment, credentials of a named profile filled in.
    """
    name = folders.environment(environment)
    found = _merged(name).get("aws") or {}
    found = {**{key: default for key, (_, default) in KEYS["aws"].items()}, **found}
    profile = found.pop("profile")
    if isinstance(profile, str):
        profile = __salt__["config.option"](profile) or {}
    return {**found, **{key: value for key, value in (profile or {}).items() if value is not None}}


def get(environment=None, fresh=False):
    """
    Return everything about an environment as one dict; the shape is in ``docs/settings.md``. All
    problems of a bad pillar come in one ``CommandExecutionError``, each with its full pillar path.
    ``fresh`` reads ``mitx:environments_source`` again, and fails if it cannot be fetched; else what
    the environment's folder keeps of it (:py:func:`keep`) will do.
    """
    name = folders.environment(environment)
    key = f"mitx_run.settings.{name}"
    if fresh or key not in __context__:
        __context__[key] = _describe(name, required=fresh)
    return copy.deepcopy(__context__[key])


def shown(settings):
    """
    Return settings as they may be seen: in a terminal, in the job cache.
    """
    masked = journal.redact(settings, whole=True)
    # The name of an object in the bucket is no secret key.
    masked["maintenance"]["key"] = settings["maintenance"]["key"]
    return masked


def save_current(run):
    """
    Keep MITx's own settings as they are now, for a night in which their server is down. Nothing to
    do where they are in pillar.
    """
    # What these settings were made of, and no page of an error that a second look may bring.
    text = __context__.get(_FETCHED)
    if text:
        save(run, text)


def _describe(name, required=False):
    problems = _master_options() + _unknown_words()
    settings = _checked(_merged(name), KEYS, f"mitx:environments:{name}", problems)
    shapes.check(settings, f"mitx:environments:{name}", problems)
    for owner, key in ((settings, "purposes"), (settings["maintenance"], "domains")):
        if owner[key] is not None:
            owner[key] = [one for one in owner[key] if isinstance(one, str)]
    mine = _dig(_environments(problems, required), name)
    if not isinstance(mine, dict):
        problems.append(f"environments:{name}: missing; MITx's own settings of this environment")
    elif settings["purposes"] is not None:
        settings |= _identity(name, mine, settings, problems)
        settings |= naming.derived(settings)
    _check_values(name, settings, problems)
    problems = [_where_it_stands(name, problem) for problem in problems]
    if problems:
        raise CommandExecutionError(
            f"The settings of {name} cannot be used:\n  - " + "\n  - ".join(problems)
        )
    return settings


def _merged(name):
    layers = {
        "mitx:defaults": folders.pillar().get("defaults") or {},
        f"mitx:environments:{name}": _layer(name),
    }
    for path, layer in layers.items():
        if not isinstance(layer, dict):
            raise CommandExecutionError(f"{path}: must be a map, is {layer!r}")
    merged = copy.deepcopy(dict(layers["mitx:defaults"]))
    for layer in (_layer(name), _overrides()):
        merged = salt.utils.dictupdate.update(merged, copy.deepcopy(dict(layer)), merge_lists=False)
    return merged


def _master_options():
    """Options of the master under which pillar is not what was said."""
    problems = []
    if __opts__.get("pillar_cache"):
        problems.append(
            "pillar_cache: true in the master's configuration: what is said on the command line"
            " would be ignored, and a changed pillar not seen for pillar_cache_ttl. Set it to"
            " false and restart salt-master"
        )
    if __opts__.get("pillar_source_merging_strategy") == "overwrite":
        problems.append(
            "pillar_source_merging_strategy: overwrite in the master's configuration: what is said"
            " on the command line would replace all of the pillar mitx. Set it to smart and"
            " restart salt-master"
        )
    return problems


def _unknown_words():
    """
    A word that nobody knows is no word that does nothing: with ``untill: close`` the whole window
    would run.
    """
    problems = []
    shapes.unknown(folders.pillar(), {**_SAID, **KEYS}, "mitx", problems)
    for key, kind in _SAID.items():
        value = folders.pillar().get(key)
        if value is not None and not shapes.fits(value, kind):
            problems.append(f"mitx:{key}: must be {shapes.spoken(kind)}, is {value!r}")
    switches = folders.pillar().get("rollback")
    for key, value in (switches if isinstance(switches, dict) else {}).items():
        if not isinstance(value, bool):
            problems.append(f"mitx:rollback:{key}: must be true or false, is {value!r}")
    return problems


def _where_it_stands(name, problem):
    """
    The problem of a setting with the path at which pillar has it: the command line, ``defaults``,
    or the environment.
    """
    here = f"mitx:environments:{name}:"
    path, _, what = problem.partition(": ")
    if not path.startswith(here):
        return problem
    keys = path.removeprefix(here).split(":")
    for layer, prefix in (
        (_overrides(), "mitx"),
        (_layer(name), None),
        (folders.pillar().get("defaults") or {}, "mitx:defaults"),
    ):
        if _has(layer, keys):
            return f"{prefix}:{':'.join(keys)}: {what}" if prefix else problem
    return problem


def _has(value, keys):
    for key in keys:
        if isinstance(value, dict) and key in value:
            value = value[key]
        elif isinstance(value, list) and key.isdecimal() and int(key) < len(value):
            value = value[int(key)]
        else:
            return False
    return True


def _layer(name):
    return (folders.pillar().get("environments") or {}).get(name) or {}


def _overrides():
    # Said on the command line for this one time: pillar='{mitx: {window: {force: true}}}'
    given = folders.pillar().items()
    return {key: value for key, value in given if key in KEYS and key not in _SAID}


def _environments(problems, required=False):
    source = folders.pillar().get("environments_source")
    if not source:
        return __pillar__.get("environments") or {}
    text, silence = _fetched(source)
    if not text and required:
        raise CommandExecutionError(
            f"mitx:environments_source: {source} cannot be fetched ({silence}), nor can the"
            " existing orchestrations. Nothing was changed. In the phase attach alone they are not"
            " needed: pillar='{mitx: {attach: {without_existing: True}}}'"
        )
    __context__[_FETCHED] = text
    if not text:
        # Neither the window nor the way back may depend on a server that is down tonight.
        text = saved()
    if not text:
        problems.append(f"mitx:environments_source: {source} cannot be fetched: {silence}")
        return {}
    try:
        return (salt.utils.yaml.safe_load(text) or {}).get("environments") or {}
    except (salt.utils.yaml.YAMLError, AttributeError) as err:
        problems.append(f"mitx:environments_source: {source} is no YAML map: {err}")
        return {}


def _fetched(source):
    """``(text, why there is none)``"""
    try:
        return __salt__["cp.get_url"](source, None), "no answer"
    except (SaltException, OSError) as err:
        return None, str(err)


def _checked(given, keys, path, problems):
    """
    Return ``given`` with every default filled in; what is unknown, missing or of the wrong type
    becomes a problem.
    """
    if not isinstance(given, dict):
        problems.append(f"{path}: must be a map, is {given!r}")
        given = {}
    shapes.unknown(given, keys, path, problems)
    result = {}
    for key, rule in keys.items():
        if isinstance(rule, dict):
            inner = {} if given.get(key) is None else given[key]
            result[key] = _checked(inner, rule, f"{path}:{key}", problems)
            continue
        kind, default = rule
        value = given.get(key)
        if value is None and key in given and isinstance(default, str):
            # Said to be nothing, where a text would be the default: no user to switch to, say.
            pass
        elif value is None:
            if default is REQUIRED:
                problems.append(f"{path}:{key}: missing")
            value = None if default is REQUIRED else copy.deepcopy(default)
        elif not shapes.fits(value, kind):
            problems.append(f"{path}:{key}: must be {shapes.spoken(kind)}, is {value!r}")
            # What is looked at next can count on the types.
            value = None if default is REQUIRED else copy.deepcopy(default)
        result[key] = value
    return result


def _identity(name, mine, settings, problems):
    path = f"environments:{name}"
    for key in ("business_unit", "vpc_name"):
        if not isinstance(mine.get(key), str):
            problems.append(f"{path}:{key}: missing")
    known = mine.get("purposes") or {}
    if not isinstance(known, dict):
        problems.append(f"{path}:purposes: must be a map of purposes, is {known!r}")
        known = {}
    hosts, codenames = _chosen(name, path, known, settings, problems)
    if len(set(map(str, codenames.values()))) > 1:
        problems.append(
            f"{path}:purposes: one run goes to one codename, these name several: {codenames}"
        )
    codename = next(iter(codenames.values()), None)
    pinned = json.dumps(
        {key: mine.get(key) for key in ("business_unit", "vpc_name")}
        | {p: known.get(p) for p in settings["purposes"]},
        sort_keys=True,
        default=str,
    )
    return {
        "environment": name,
        "business_unit": mine.get("business_unit"),
        "vpc_name": mine.get("vpc_name"),
        "codename": codename,
        "hosts": hosts,
        "environments_digest": hashlib.sha256(pinned.encode()).hexdigest()[:16],
    }


def _chosen(name, path, known, settings, problems):
    """``({purpose: its hosts}, {purpose: its codename})`` of the purposes that a run is to have."""
    hosts, codenames = {}, {}
    here, there = f"mitx:environments:{name}:purposes", f"{path}:purposes"
    listed = ", ".join(sorted(known))
    if not settings["purposes"]:
        problems.append(f"{here}: names no purpose; in {there}: {listed}")
    for purpose in settings["purposes"]:
        where = f"{there}:{purpose}"
        if not isinstance(known.get(purpose), dict):
            problems.append(f"{here}: {purpose!r} is not in {there}: {listed}")
            continue
        kinds = settings["maintenance"]["domains"]
        hosts[purpose] = _purpose(where, known[purpose], kinds, problems)
        codename = _dig(known[purpose], "versions", "codename")
        codenames[purpose] = codename
        if not isinstance(codename, str) or not _NAME.match(codename):
            problems.append(f"{where}:versions:codename: missing, or no plain name: {codename!r}")
    return hosts, codenames


def _dig(value, *keys):
    """What lies below these keys, ``None`` where one of them is missing or its place is no map."""
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _purpose(where, entry, kinds, problems):
    domains = entry.get("domains")
    if not isinstance(domains, dict):
        problems.append(f"{where}:domains: must be a map of {', '.join(kinds)}, is {domains!r}")
        domains = {}
    for kind in kinds:
        if kind not in domains:
            problems.append(f"{where}:domains:{kind}: missing")
    for kind, hostname in domains.items():
        if not isinstance(hostname, str) or not _HOSTNAME.match(hostname):
            problems.append(f"{where}:domains:{kind}: no host name: {hostname!r}")
    instances = {}
    for role in ("edx", "edx-worker"):
        number = _dig(entry, "instances", role, "number")
        if not isinstance(number, int) or isinstance(number, bool) or number < 1:
            problems.append(
                f"{where}:instances:{role}:number: must be a whole number from 1 on, is {number!r}"
            )
            number = 0
        instances[role] = number
    return {"domains": domains, "instances": instances}


def _check_values(name, settings, problems):
    path = f"mitx:environments:{name}"
    _check_names(path, settings, problems)
    _check_release(f"{path}:release", settings["release"], problems)
    hold = settings["services"]["hold"]
    if bool(hold["begin"]) is not bool(hold["end"]):
        problems.append(f"{path}:services:hold: begin and end belong together, is {hold!r}")
    if settings["window"]["start"] is None:
        settings["window"] = {**settings["window"], "start_utc": None, "end_utc": None}
        return
    try:
        settings["window"] |= window.times(settings["window"])
    except CommandExecutionError as err:
        problems.append(f"{path}:window: {err}")


def _check_names(path, settings, problems):
    zone = (settings["dns"]["zone"] or "").rstrip(".")
    for record in settings.get("records", ()):
        if not str(record["name"]).endswith("." + zone):
            problems.append(f"{path}:dns:zone: {record['name']} does not lie in {zone}.")
    for elb in settings.get("elbs", ()):
        if [other["name"] for other in settings["elbs"]].count(elb["name"]) > 1:
            problems.append(
                f"{path}: two load balancers would be called {elb['name']}, their"
                " names cut to 32 characters"
            )


def _check_release(path, release, problems):
    for key in ("branch", "onto"):
        value = release[key]
        if isinstance(value, str) and not _BRANCH.match(value):
            problems.append(f"{path}:{key}: no plain name of a branch or tag: {value!r}")
    source = release["from"]
    if source and source not in (folders.pillar().get("environments") or {}):
        problems.append(f"{path}:from: {source!r} is not in mitx:environments")


_SAVED = "environment_settings.yml"


def save(run, text):
    """
    Keep the text of ``mitx:environments_source`` in the environment's folder.
    """
    journal.refuse_under_test(run, "keep MITx's settings")
    path = folders.environment_path() / _SAVED
    folders.make(path.parent)
    folders.replace(path, text)


def saved():
    """
    Return the text that :py:func:`keep_settings` kept last, ``None`` if there is none.
    """
    try:
        return (folders.environment_path() / _SAVED).read_text(encoding="utf-8")
    except OSError:
        return None
