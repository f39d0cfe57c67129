"""
What the settings may hold beside their types: lists, maps inside of maps, names, numbers
=========================================================================================

Every problem is a sentence that begins with its full pillar path. What would only be found in the
night, with the site closed, is found here, before anything begins.
"""

import difflib
import re

REQUIRED = object()
_NUMBER = (int, float)
_HOSTNAME = r"(?=.{1,253}\Z)([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)+[a-z]{2,}\.?"
# Of a text: the pattern that it must be, whole, and that in words.
PATTERNS = {
    "maintenance:distribution:domain_name": (
        rf"(?i){_HOSTNAME}",
        "a host name, without https:// and path",
    ),
    "maintenance:distribution:id": (r"[A-Z0-9]+", "an id such as E1ABCDEFGHIJKL"),
    "maintenance:bucket": (
        r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]",
        "the name of a bucket, without s3://",
    ),
    "maintenance:key": (r"[^/\s][^\s]*", "the key of an object, without a / before it"),
    "dns:zone_id": (r"(/hostedzone/)?[A-Z0-9]+", "an id such as Z0123456789ABC"),
    "dns:zone": (rf"(?i){_HOSTNAME}", "the name of a zone"),
    "checks:heartbeat": (r"/\S*", "a path that begins with /"),
    "checks:scheme": (r"https?", "https or http"),
    "checks:instance:scheme": (r"https?", "https or http"),
    "aws:account": (r"\d{12}", "the 12 digits of an account, in quotes"),
    "notify:downtime:url": (r"https?://\S+", "a URL that begins with https://"),
    "aws:endpoint_url": (r"https?://\S+", "a URL that begins with https://"),
}
# Numbers that must be more than 0; all others may be 0, none may be less.
POSITIVE = (
    "aws:attempts",
    "dns:ttl",
    "elb:polls",
    "checks:port",
    "checks:instance:port",
    "window:hours",
)
# The maps in a list, or a map by itself: key, type, default. What is REQUIRED may not be left out.
PATH = {"path": (str, REQUIRED), "status": (int, None), "text": (str, None), "kinds": (list, None)}
COMMAND = {"name": (str, REQUIRED), "command": (str, REQUIRED)}
SMTP = {
    "host": (str, REQUIRED),
    "port": (int, None),
    "user": (str, None),
    "password": (str, None),
    "tls": ((str, bool), None),
    "ca_bundle": (str, None),
    "timeout": (_NUMBER, None),
}
# To a shell the end of a line at the end is nothing, and YAML's block text has one.
_COMMANDS = re.compile(r":(command|begin|end)\Z|:migrate:pending:")
_KINDS = {
    str: "a text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    list: "a list",
    dict: "a map",
}


ROLES = ("edx", "edx-worker")


def check(settings, path, problems):
    """
    Add to ``problems`` what is wrong inside of ``settings``, whose types are right.
    """
    _texts(settings, path, problems)
    _numbers(settings, path, "", problems)
    for key, (pattern, words) in PATTERNS.items():
        value = _at(settings, key)
        if isinstance(value, str) and not re.fullmatch(pattern, value):
            problems.append(f"{path}:{key}: must be {words}, is {value!r}")
    _paths(settings["checks"]["paths"], f"{path}:checks:paths", problems)
    for key in ("resolvers", "authoritative"):
        _items(settings["checks"][key], f"{path}:checks:{key}", problems)
    _services(settings["services"], f"{path}:services", problems)
    _items(settings["services"]["oneshot"], f"{path}:services:oneshot", problems)
    _items(settings["window"]["pause_schedule"], f"{path}:window:pause_schedule", problems)
    _items(settings["smoke"]["states"], f"{path}:smoke:states", problems)
    _migrations(settings["migrate"], f"{path}:migrate", problems)
    if settings["announce"]["smtp"]:
        fill(settings["announce"]["smtp"], SMTP, f"{path}:announce:smtp", problems)
    _items(settings["announce"]["to"], f"{path}:announce:to", problems)
    _downtime(settings["notify"]["downtime"], f"{path}:notify:downtime", problems)
    if settings["rehearsal"]["required"] and not settings["rehearsal"]["environment"]:
        problems.append(f"{path}:rehearsal:environment: missing; the environment of the rehearsal")


def _downtime(downtime, path, problems):
    left = [key for key, value in downtime.items() if not value]
    if left and len(left) < len(downtime):
        problems.append(f"{path}: {', '.join(left)} missing; all of it, or nothing")


def _paths(paths, path, problems):
    for number, item in enumerate(_list(paths)):
        where = f"{path}:{number}"
        fill(item, PATH, where, problems)
        wanted = _map(item).get("path")
        if isinstance(wanted, str) and not wanted.startswith("/"):
            problems.append(f"{where}:path: must begin with /, is {wanted!r}")


def _services(services, path, problems):
    for key in ("systemd", "playbooks"):
        for role, names in _map(services[key]).items():
            where = f"{path}:{key}:{role}"
            if role not in ROLES:
                problems.append(f"{where}: unknown role; there are {' and '.join(ROLES)}")
            _items(names, where, problems)
    for role in ROLES:
        if not _map(services["playbooks"]).get(role):
            problems.append(
                f"{path}:playbooks:{role}: missing; the names of its playbooks, in their order"
            )


def _migrations(migrate, path, problems):
    for name, command in _map(migrate["pending"]).items():
        if not isinstance(name, str) or not isinstance(command, str) or not command.strip():
            problems.append(f"{path}:pending:{name}: must be a command, is {command!r}")
    for number, item in enumerate(_list(migrate["commands"])):
        fill(item, COMMAND, f"{path}:commands:{number}", problems)


def fill(given, keys, path, problems):
    """
    Return ``given`` with every default of ``keys`` filled in; what is unknown, missing or of the
    wrong type is added to ``problems``.
    """
    if not isinstance(given, dict):
        problems.append(f"{path}: must be a map of {', '.join(keys)}, is {given!r}")
        return dict.fromkeys(keys)
    unknown(given, keys, path, problems)
    result = {}
    for key, (kind, default) in keys.items():
        value = given.get(key)
        if value is None:
            if default is REQUIRED:
                problems.append(f"{path}:{key}: missing")
            value = None if default is REQUIRED else default
        elif not fits(value, kind):
            problems.append(f"{path}:{key}: must be {spoken(kind)}, is {value!r}")
        result[key] = value
    return result


def unknown(given, keys, path, problems):
    """
    Add to ``problems`` each key of ``given`` that is none of ``keys``, with the one that was
    probably meant.
    """
    for key in given:
        if key not in keys:
            near = difflib.get_close_matches(str(key), keys, n=1)
            problems.append(
                f"{path}:{key}: unknown key" + (f"; did you mean {near[0]}?" if near else "")
            )


def fits(value, kind):
    """
    Return whether ``value`` is of ``kind``, a type or several; true and false are no numbers.
    """
    kinds = kind if isinstance(kind, tuple) else (kind,)
    return isinstance(value, kinds) and (not isinstance(value, bool) or bool in kinds)


def spoken(kind):
    """
    Return a type, or several, in words.
    """
    kinds = kind if isinstance(kind, tuple) else (kind,)
    return " or ".join(_KINDS[one] for one in kinds if not (one is int and float in kinds))


def _texts(value, path, problems):
    """
    Pillar that was not decrypted, and what an editor or a shell has left at the end of a text.
    """
    if isinstance(value, dict):
        for key, item in value.items():
            _texts(item, f"{path}:{key}", problems)
    elif isinstance(value, list):
        for number, item in enumerate(value):
            _texts(item, f"{path}:{number}", problems)
    elif isinstance(value, str) and "-----BEGIN PGP MESSAGE-----" in value:
        problems.append(f"{path}: is still encrypted; the renderer gpg must run before it")
    elif isinstance(value, str) and value.endswith(("\n", "\r")) and not _COMMANDS.search(path):
        problems.append(f"{path}: ends with the end of a line")


def _numbers(settings, path, below, problems):
    for key, value in settings.items():
        where = f"{below}:{key}" if below else key
        if isinstance(value, dict) and where not in (
            "announce:smtp",
            "services:systemd",
            "services:playbooks",
            "migrate:pending",
        ):
            _numbers(value, path, where, problems)
        elif fits(value, _NUMBER) and not _enough(value, where):
            problems.append(
                f"{path}:{where}: must be {'more than 0' if where in POSITIVE else '0 or more'}, is"
                f" {value!r}"
            )


def _enough(value, where):
    # Said so that nan, which no comparison is true of, is refused too.
    return value > 0 if where in POSITIVE else value >= 0


def _items(values, path, problems):
    if not isinstance(values, list):
        problems.append(f"{path}: must be a list, is {values!r}")
        return
    for number, value in enumerate(values):
        if not isinstance(value, str) or not value.strip():
            problems.append(f"{path}:{number}: must be a text, is {value!r}")


def _at(settings, path):
    for key in path.split(":"):
        settings = settings.get(key) if isinstance(settings, dict) else None
    return settings


def _list(value):
    return value if isinstance(value, list) else []


def _map(value):
    return value if isinstance(value, dict) else {}
