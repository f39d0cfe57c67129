"""
Pillar to one checked, complete description of an environment
=============================================================

:py:func:`get` merges pillar ``mitx:defaults``, ``mitx:environments:<environment>`` and MITx's own settings of that
environment (pillar ``environments:<environment>``, or the YAML file or URL ``mitx:environments_source``), and returns
one plain dict that holds every name the package uses (``mitx_names``).
"""

import copy
import difflib
import hashlib
import json
import os
import re

import salt.utils.dictupdate
import salt.utils.yaml
from salt.exceptions import CommandExecutionError, SaltException

REQUIRED = object()
_FETCHED = "mitx_settings.fetched"
_NAME = re.compile(r"[a-z0-9][a-z0-9-]*\Z")
_HOSTNAME = re.compile(r"(?=.{1,253}\Z)([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)+[a-z]{2,}\Z")
_BRANCH = re.compile(r"(?!.*(\.\.|//|@\{))[A-Za-z0-9][A-Za-z0-9._/-]*\Z")

# Every key, with its type and its default. pillar_examples/mitx.sls explains each.
KEYS = {
    "purposes": (list, REQUIRED),
    "window": {
        "start": (str, None), "timezone": (str, None), "hours": ((int, float), None), "force": (bool, False),
        "reason": (str, "we perform routine upgrades"), "contact": (str, "mitx-support@mit.edu"),
    },
    "aws": {
        "region": (str, "us-east-1"), "keyid": (str, None), "key": (str, None), "token": (str, None), "profile": ((str, dict), None),
        "endpoint_url": (str, None), "account": (str, None), "attempts": (int, 8), "read_timeout": ((int, float), 60),
    },
    "dns": {
        "zone_id": (str, REQUIRED), "zone": (str, "mitx.mit.edu."), "ttl": (int, 60), "timeout": ((int, float), 300),
        "public_timeout": ((int, float), 300), "interval": ((int, float), 5),
    },
    "maintenance": {
        "name": (str, "Residential MITx"),
        "domains": (list, ["lms", "cms", "preview"]),
        "distribution": {"id": (str, REQUIRED), "domain_name": (str, REQUIRED)},
        "bucket": (str, REQUIRED), "key": (str, "index.html"), "template": (str, None), "marker": (str, "data-mitx-maintenance"),
        "invalidation_timeout": ((int, float), 60),
    },
    "announce": {"smtp": (dict, {}), "sender": (str, None), "to": (list, [])},
    "release": {
        "from": (str, None), "branch": (str, None), "onto": (str, None), "upstream": (str, "https://github.com/edx/edx-platform.git"),
        "origin": (str, "https://github.com/mitodl/edx-platform.git"), "mirror": (str, "/var/lib/mitx/git/edx-platform.git"),
        "protocols": (list, ["https", "ssh"]), "runas": (str, None), "credentials": (dict, {}), "sha": (str, None), "committer": (dict, {"name": "MITx release", "email": "mitx-release@mit.edu"}),
        "flatten": (bool, False),
        "signing_key": (str, None), "timeout": ((int, float), 900),
    },
    "build": {"run_migrations": (bool, False), "purpose": (str, None)},
    "images": {"timeout": ((int, float), 3600), "interval": ((int, float), 15)},
    "services": {
        "supervisorctl": (str, "/edx/bin/supervisorctl"), "user": (str, "edxapp"), "platform": (str, "/edx/app/edxapp/edx-platform"),
        "ansible_log": (str, "/tmp/edx_config/ansible-log.txt"), "systemd": (dict, {"edx": ["gitreload"], "edx-worker": []}),
        "hold": {"begin": (str, None), "end": (str, None)}, "timeout": ((int, float), 120),
    },
    "drain": {"command": (str, None), "timeout": ((int, float), 900), "interval": ((int, float), 5), "waive": (bool, False)},
    "migrate": {
        "before": (str, None), "snapshot_required": (bool, False), "snapshot_id": (str, None), "pending": (dict, REQUIRED),
        "commands": (list, REQUIRED), "timeout": ((int, float), 3600),
    },
    "checks": {
        "heartbeat": (str, "/heartbeat"), "paths": (list, []), "scheme": (str, "https"), "port": (int, 443), "ca_bundle": (str, None),
        "resolvers": (list, []), "authoritative": (list, []), "timeout": ((int, float), 120), "interval": ((int, float), 2),
        "instance": {"scheme": (str, "https"), "port": (int, 443)}, "watch": ((int, float), 60),
    },
    "elb": {
        "polls": (int, 3), "interval": ((int, float), 5), "timeout": ((int, float), None), "drain_timeout": ((int, float), None),
    },
    "attach": {"without_existing": (bool, False)},
    "gate": {"required": (bool, True), "timeout": ((int, float), 3600)},
    "retire": {"after": ((int, float), 48), "timeout": ((int, float), 600)},
    "timeouts": {"minions": ((int, float), 60), "highstate": ((int, float), 7200), "existing": ((int, float), 14400)},
}  # fmt: skip


def __virtual__():
    return True


def environment(environment=None):
    """
    Return the name of the environment to work on: the argument, else pillar ``mitx:environment``, else the variable
    ``ENVIRONMENT`` as the existing orchestrations use it; else an error that lists those in pillar.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd mitx_settings.environment with_pillar=True
    """
    known = sorted(_mitx().get("environments") or {})
    name = environment or _mitx().get("environment") or os.environ.get("ENVIRONMENT")
    if not known:
        raise CommandExecutionError(
            f"Pillar has no mitx:environments: the pillar top file must serve it to the master's own pillar, {__opts__.get('id')}"
        )
    if not name:
        raise CommandExecutionError(
            f"Which environment? Say environment=…, or set pillar mitx:environment. In pillar: {', '.join(known)}"
        )
    if name not in known:
        raise CommandExecutionError(
            f"There is no environment {name!r} in pillar mitx:environments. In pillar: {', '.join(known)}"
        )
    return name


def aws(environment=None):
    """
    Return ``mitx:…:aws`` of the environment, credentials of a named profile filled in.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd mitx_settings.aws with_pillar=True
    """
    name = __salt__["mitx_settings.environment"](environment)
    found = _merged(name).get("aws") or {}
    found = {**{key: default for key, (_, default) in KEYS["aws"].items()}, **found}
    profile = found.pop("profile")
    if isinstance(profile, str):
        profile = __salt__["config.option"](profile) or {}
    return {**found, **{key: value for key, value in (profile or {}).items() if value is not None}}


def get(environment=None, fresh=False):
    """
    Return everything about an environment as one dict; the shape is in ``docs/settings.md``. All problems of a
    bad pillar come in one ``CommandExecutionError``, each with its full pillar path. ``fresh`` reads
    ``mitx:environments_source`` again, and fails if it cannot be fetched; else what the environment's folder keeps of it
    (:py:func:`keep`) will do.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd mitx_settings.get mitx-qa with_pillar=True
    """
    name = __salt__["mitx_settings.environment"](environment)
    key = f"mitx_settings.{name}"
    if fresh or key not in __context__:
        __context__[key] = _describe(name, required=fresh)
    return copy.deepcopy(__context__[key])


def keep():
    """
    Keep MITx's own settings as they are now, for a night in which their server is down. Nothing to do where they are in pillar.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd mitx_settings.keep with_pillar=True
    """
    # What these settings were made of, and no page of an error that a second look may bring.
    text = __context__.get(_FETCHED)
    if text:
        __salt__["mitx_run.keep_settings"](text)


def _describe(name, required=False):
    problems = []
    settings = _checked(_merged(name), KEYS, f"mitx:environments:{name}", problems)
    mine = _environments(problems, required).get(name)
    if not isinstance(mine, dict):
        problems.append(f"environments:{name}: missing; MITx's own settings of this environment")
    elif isinstance(settings["purposes"], list):
        settings |= _identity(name, mine, settings, problems)
        settings |= __salt__["mitx_names.derived"](settings)
    _check_values(name, settings, problems)
    if problems:
        raise CommandExecutionError(f"The settings of {name} cannot be used:\n  - " + "\n  - ".join(problems))
    return settings


def _mitx():
    return __pillar__.get("mitx") or {}


def _merged(name):
    merged = copy.deepcopy(dict(_mitx().get("defaults") or {}))
    for layer in ((_mitx().get("environments") or {}).get(name) or {}, _overrides()):
        merged = salt.utils.dictupdate.update(merged, copy.deepcopy(dict(layer)), merge_lists=False)
    return merged


def _overrides():
    # Said on the command line for this one time: pillar='{mitx: {window: {force: true}}}'
    return {key: value for key, value in _mitx().items() if key in KEYS}


def _environments(problems, required=False):
    source = _mitx().get("environments_source")
    if not source:
        return __pillar__.get("environments") or {}
    text, silence = _fetched(source)
    if not text and required:
        raise CommandExecutionError(
            f"mitx:environments_source: {source} cannot be fetched ({silence}), nor can the existing orchestrations. Nothing was changed. "
            "In the phase attach alone they are not needed: pillar='{mitx: {attach: {without_existing: True}}}'"
        )
    __context__[_FETCHED] = text
    if not text:
        # Neither the window nor the way back may depend on a server that is down tonight.
        text = __salt__["mitx_run.kept_settings"]()
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
    Return ``given`` with every default filled in; what is unknown, missing or of the wrong type becomes a problem.
    """
    if not isinstance(given, dict):
        problems.append(f"{path}: must be a map, is {given!r}")
        given = {}
    for key in given:
        if key not in keys:
            near = difflib.get_close_matches(str(key), keys, n=1)
            problems.append(f"{path}:{key}: unknown key" + (f"; did you mean {near[0]}?" if near else ""))
    result = {}
    for key, rule in keys.items():
        if isinstance(rule, dict):
            result[key] = _checked(given.get(key) or {}, rule, f"{path}:{key}", problems)
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
        elif not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            problems.append(f"{path}:{key}: must be {_spoken(kind)}, is {value!r}")
        result[key] = value
    return result


def _spoken(kind):
    names = {str: "a text", int: "a whole number", float: "a number", bool: "true or false", list: "a list", dict: "a map"}
    return " or ".join(names[one] for one in (kind if isinstance(kind, tuple) else (kind,)))


def _identity(name, mine, settings, problems):
    path = f"environments:{name}"
    for key in ("business_unit", "vpc_name"):
        if not isinstance(mine.get(key), str):
            problems.append(f"{path}:{key}: missing")
    hosts, codenames = {}, {}
    known = mine.get("purposes") or {}
    if not settings["purposes"]:
        problems.append(f"mitx:environments:{name}:purposes: names no purpose; in {path}:purposes: {', '.join(sorted(known))}")
    for purpose in settings["purposes"]:
        where = f"{path}:purposes:{purpose}"
        if not isinstance(known.get(purpose), dict):
            problems.append(
                f"mitx:environments:{name}:purposes: {purpose!r} is not in {path}:purposes: {', '.join(sorted(known))}"
            )
            continue
        hosts[purpose] = _purpose(where, known[purpose], settings["maintenance"]["domains"], problems)
        codenames[purpose] = (known[purpose].get("versions") or {}).get("codename")
        if not isinstance(codenames[purpose], str) or not _NAME.match(codenames[purpose]):
            problems.append(f"{where}:versions:codename: missing, or no plain name: {codenames[purpose]!r}")
    if len(set(map(str, codenames.values()))) > 1:
        problems.append(f"{path}:purposes: one run goes to one codename, these name several: {codenames}")
    codename = next(iter(codenames.values()), None)
    pinned = json.dumps(
        {key: mine.get(key) for key in ("business_unit", "vpc_name")} | {p: known.get(p) for p in settings["purposes"]},
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
        number = ((entry.get("instances") or {}).get(role) or {}).get("number")
        if not isinstance(number, int) or isinstance(number, bool) or number < 1:
            problems.append(f"{where}:instances:{role}:number: must be a whole number from 1 on, is {number!r}")
            number = 0
        instances[role] = number
    return {"domains": domains, "instances": instances}


def _check_values(name, settings, problems):
    path = f"mitx:environments:{name}"
    zone = (settings["dns"]["zone"] or "").rstrip(".")
    for record in settings.get("records", ()):
        if not str(record["name"]).endswith("." + zone):
            problems.append(f"{path}:dns:zone: {record['name']} does not lie in {zone}.")
    for elb in settings.get("elbs", ()):
        if [other["name"] for other in settings["elbs"]].count(elb["name"]) > 1:
            problems.append(
                f"environments:{name}: two load balancers would be called {elb['name']}, their names cut to 32 characters"
            )
    for key in ("branch", "onto"):
        value = settings["release"][key]
        if isinstance(value, str) and not _BRANCH.match(value):
            problems.append(f"{path}:release:{key}: no plain name of a branch or tag: {value!r}")
    if settings["release"]["from"] and settings["release"]["from"] not in (_mitx().get("environments") or {}):
        problems.append(f"{path}:release:from: {settings['release']['from']!r} is not in mitx:environments")
    for number, command in enumerate(settings["migrate"]["commands"] or ()):
        if not isinstance(command, dict) or not {"name", "command"} <= set(command):
            problems.append(f"{path}:migrate:commands:{number}: must be a map of name and command")
    hold = settings["services"]["hold"]
    if bool(hold["begin"]) is not bool(hold["end"]):
        problems.append(f"{path}:services:hold: begin and end belong together, is {hold!r}")
    if settings["window"]["start"] is None:
        settings["window"] = {**settings["window"], "start_utc": None, "end_utc": None}
        return
    try:
        settings["window"] |= __salt__["mitx_window.times"](settings["window"])
    except CommandExecutionError as err:
        problems.append(f"{path}:window: {err}")
