"""
What a visitor sees, and what an engineer would see behind the curtain
======================================================================

  * :py:func:`public`: every public name, asked of the zone's own name servers and of several
  resolvers, and fetched from
  each address that they give: everybody sees the maintenance page, or the site.
  * :py:func:`backstage`: the site behind its load balancers under its real names, while visitors
  still see the page.
* :py:func:`smoke`: each web instance by itself.
* :py:func:`watch`: the public site for a while.

Everything here only reads. All names are asked at once, until all are right or the deadline says
what each of them showed last.

:depends: dnspython, urllib3
"""

import json
import shlex
import time

from salt.exceptions import CommandExecutionError

from mitx_fleet import elb, fleets
from mitx_run import wait
from mitx_site import probe

# Of the addresses behind one name: a load balancer has one for each availability zone.
_MOST_ADDRESSES = 4

_SHOWN_TEXT = 80

# Of pages with the same fault so many are named.
_PAGES_TOLD = 3


def public(run, expect="maintenance", hostnames=None, not_before=0):
    """
    Wait until everybody sees ``expect`` (``maintenance`` or ``site``) at every public name: each
    name server and resolver leads there, and each address they give answers so. Returns what
    :py:func:`seen` returns.

    not_before
        Seconds for which nothing is believed yet: what is left of the time to live of the old
        records.

    Raises ``CommandExecutionError`` after ``dns.public_timeout`` seconds more, with what each wrong
    name showed.
    """
    what = {"maintenance": "The maintenance page", "site": "The site"}.get(expect)
    if not what:
        raise CommandExecutionError(f"Visitors see maintenance or site, not {expect!r}")
    names, started, found = _names(run.settings, hostnames), time.monotonic(), {}

    def look():
        # Measured before looking: what was seen while caches might still hold the old record proves
        # nothing.
        left = not_before - (time.monotonic() - started)
        found.update(_look(run.settings, names))
        wrong = _not_showing(run.settings, found, expect)
        if left > 0:
            wrong.append(f"resolvers may hold the old records for another {left:.0f} s")
        return not wrong, "; ".join(wrong)

    timeout = run.settings["dns"]["public_timeout"] + not_before
    everybody = f"{what} seen by everybody at {_count(names, 'name')}"
    _wait(run, look, timeout, everybody, "salt-run mitx.maintenance status", waits_for="DNS")
    return {name: _described(run.settings, *found[name]) for name in names}


def seen(run, hostnames=None):
    """
    Look once and return ``{name: {resolvers, visitor, status, shows}}``: ``resolvers`` is ``{who
    was asked: what it says}``, ``visitor`` says in words what visitors get, ``status`` is the HTTP
    status and ``shows`` one of ``maintenance``, ``site``, ``other``; these two are ``None`` where
    nobody answers, or not everybody alike.
    """
    found = _look(run.settings, _names(run.settings, hostnames))
    return {name: _described(run.settings, *both) for name, both in found.items()}


def in_words(run):
    """
    Return what visitors get now, looked at once, in a few words.
    """
    shown = {}
    for name, one in seen(run).items():
        shown.setdefault(one["shows"], []).append(name)
    words = {"site": "the site", "maintenance": "the maintenance page", None: "no or mixed answers"}
    told = [
        f"{words.get(what, 'something else')} ({_count(names, 'name')})"
        for what, names in shown.items()
    ]
    return f"see {', '.join(told)}"


def backstage(run, still="maintenance"):
    """
    Wait until every public name, asked of its own load balancer's addresses, answers as the site:
    its heartbeat, and ``checks.paths`` (``{path, status: 200, text: anything, kinds: all}`` each).
    Meanwhile visitors must see ``still`` (``None``: whatever they do). Returns ``{load balancer:
    {url: what it answers}}``.
    """
    elbs = elb.describe(run, required=True)
    names = {balancer: described["dns_name"] for balancer, described in elbs.items()}
    found = {}

    def look():
        found.clear()
        answers = probe.resolve(list(names.values()), run.settings["checks"]["resolvers"][:1])
        places = {balancer: _addresses(answers[name]) for balancer, name in names.items()}
        wrong = [
            f"{names[balancer]} has no address" for balancer, some in places.items() if not some
        ]
        requests = _site_requests(
            run.settings,
            {record["name"]: places[record["elb"]] for record in run.settings["records"]},
        )
        wrong += _fetch_all(run.settings, requests, found)
        if still:
            wrong += _not_showing(
                run.settings, _look(run.settings, _names(run.settings, None)), still, "visitors to "
            )
        return not wrong, "; ".join(wrong)

    what = f"The site behind its load balancers, at {_count(run.settings['records'], 'name')}"
    _wait(run, look, run.settings["checks"]["timeout"], what, "salt-run mitx.status")
    return found


def ways(run):
    """
    Return how a human gets to the site behind its load balancers while visitors see the page, as
    lines to be pasted: ``curl`` for each public name, a line for ``/etc/hosts``, and a browser. The
    addresses are those of this moment.
    """
    balancers = {name: one["dns_name"] for name, one in elb.describe(run, required=True).items()}
    answers = probe.resolve(list(balancers.values()), run.settings["checks"]["resolvers"][:1])
    first = {name: _addresses(answers[balancers[name]])[:1] for name in balancers}
    places = [(one["name"], *first[one["elb"]]) for one in run.settings["records"]]
    known = [place for place in places if len(place) > 1]
    hosts = {}
    for name, address in known:
        hosts.setdefault(address, []).append(name)
    lost = [f"# {name}: its load balancer has no address" for name, *found in places if not found]
    port, scheme = run.settings["checks"]["port"], run.settings["checks"]["scheme"]
    bundle = run.settings["checks"]["ca_bundle"]
    trust = f" --cacert {shlex.quote(bundle)}" if bundle else ""
    where = f":{port}" if port not in (80, 443) else ""
    rules = ", ".join(f"MAP {name} {address}" for name, address in known)
    return [
        *lost,
        *(
            f"curl -i{trust} --resolve {name}:{port}:{address} {scheme}://{name}{where}/"
            for name, address in known
        ),
        *(f"{address}  {' '.join(names)}    # for /etc/hosts" for address, names in hosts.items()),
        f"google-chrome --user-data-dir=$(mktemp -d) --host-resolver-rules='{rules}'",
    ]


def smoke(run, instances=None):
    """
    Wait until each web instance answers by itself, for LMS and Studio: heartbeat 200, every
    dependency true. Returns ``{instance: {url: what it answers}}``.

    instances
        As ``mitx_fleet`` gives them; without it, the new fleet that the run recorded. Workers are
        passed over.

    Certificates are not looked at, as load balancers do not either.
    """
    instances = fleets.recorded(run, "new") if instances is None else instances
    web = [one for one in instances if one["role"] == "edx"]
    if not web:
        raise CommandExecutionError(
            "There is no web instance to check: nothing is proven by asking nobody"
        )
    requests = [request for one in web for request in _smoke_requests(run.settings, one)]
    found = {}

    def look():
        found.clear()
        wrong = _fetch_all(run.settings, requests, found, verify=False)
        return not wrong, "; ".join(wrong)

    _wait(
        run,
        look,
        run.settings["checks"]["timeout"],
        f"A good heartbeat of {_count(web, 'web instance')}",
        "salt-run mitx.status",
    )
    return found


def watch(run, seconds=None):
    """
    Watch the public site for ``seconds`` (default ``checks.watch``): heartbeat and ``checks.paths``
    of every name, each ``checks.interval``. Returns ``{name: {asked: int, failed: 0}}``; raises
    ``CommandExecutionError`` at the end if any answer was not the site's, with how many and the
    first of each name.
    """
    seconds = run.settings["checks"]["watch"] if seconds is None else seconds
    counts = {name: {"asked": 0, "failed": 0} for name in _names(run.settings, None)}
    firsts, started = {}, time.monotonic()

    def look():
        _watch_once(run.settings, counts, firsts)
        return time.monotonic() - started >= seconds, "still watching"

    # Ended by look(); the timeout is for one round that takes very long.
    interval = run.settings["checks"]["interval"]
    wait.until(
        run, look, seconds + 600, interval, f"The site watched for {seconds} s", waits_for="health"
    )
    failed = [
        f"{name}: {counts[name]['failed']} of {counts[name]['asked']}, the first: {first}"
        for name, first in firsts.items()
    ]
    if failed:
        raise CommandExecutionError(
            f"The site did not stay up for {seconds} s: {'; '.join(failed)}. Visitors are on it. "
            "Look: salt-run mitx.status; to close it again: salt-run mitx.maintenance on"
        )
    return counts


def unlike(run, values):
    """
    Return, as sentences, which of the resolvers and name servers that ``close`` and ``open`` will
    ask do not say of a public name what its record says: nothing, an error, or something else, as
    a resolver does that answers for a private zone of the same name. ``values`` is ``{name: target
    of its CNAME}``. Looks once.
    """
    wrong = []
    for name, (said, _) in _look(run.settings, list(values)).items():
        texts = _said(run.settings, said)
        wrong += [
            f"{name}: {server} says {texts[server]}, its record says {values[name]}"
            for server, answer in said.items()
            if answer["error"] or _plain(values[name]) not in map(_plain, answer["targets"])
        ]
    return wrong


def _plain(name):
    return str(name).rstrip(".").lower()


def _watch_once(settings, counts, firsts):
    answers = probe.resolve(list(counts), settings["checks"]["resolvers"])
    requests = _site_requests(settings, {name: _addresses(said) for name, said in answers.items()})
    for name, said in answers.items():
        if not _addresses(said):
            _count_answer(counts, firsts, name, "; ".join(_said(settings, said).values()))
    for request, page in zip(requests, _fetch(settings, requests), strict=True):
        problem = _problem(settings, request, page)
        _count_answer(
            counts, firsts, request["hostname"], problem and f"{request['path']}: {problem}"
        )


def _count_answer(counts, firsts, name, problem):
    counts[name]["asked"] += 1
    if problem:
        counts[name]["failed"] += 1
        firsts.setdefault(name, problem)


def _wait(run, look, timeout, what, next_command, waits_for="health"):
    try:
        wait.until(
            run, look, timeout, run.settings["checks"]["interval"], what, waits_for=waits_for
        )
    except CommandExecutionError as err:
        raise CommandExecutionError(f"{err}. Look again: {next_command}") from err


def _names(settings, hostnames):
    names = list(hostnames or [record["name"] for record in settings["records"]])
    if not names:
        raise CommandExecutionError(
            "There is no public name to check: nothing is proven by asking nobody"
        )
    return names


def _count(things, noun):
    return f"{len(things)} {noun}{'' if len(things) == 1 else 's'}"


def _look(settings, names):
    """
    ``{name: (said, pages)}``: what each name server and resolver says, and what each address
    answers to a heartbeat.
    """
    checks = settings["checks"]
    said = probe.resolve(names, checks["resolvers"])
    try:
        own = checks["authoritative"] or probe.name_servers(
            settings["dns"]["zone"], checks["resolvers"]
        )
        by_zone = probe.resolve(names, own)
    except CommandExecutionError as err:
        by_zone = {
            name: {settings["dns"]["zone"]: {"targets": [], "addresses": [], "error": str(err)}}
            for name in names
        }
    for name in names:
        said[name] |= {
            f"{server} (authoritative)": answer for server, answer in by_zone[name].items()
        }
    requests = [
        _request(settings, name, address) for name in names for address in _addresses(said[name])
    ]
    pages = {name: {} for name in names}
    for request, page in zip(requests, _fetch(settings, requests), strict=True):
        pages[request["hostname"]][request["address"]] = page
    return {name: (said[name], pages[name]) for name in names}


def _addresses(said):
    """
    Every address once; the first of each resolver before anybody's second, since one that is behind
    must be asked too.
    """
    rows = [answer["addresses"] for answer in said.values()]
    ranked = [row[rank] for rank in range(_MOST_ADDRESSES) for row in rows if rank < len(row)]
    return list(dict.fromkeys(ranked))[: max(_MOST_ADDRESSES, len(rows))]


def _request(settings, hostname, address):
    common = {key: settings["checks"][key] for key in ("scheme", "port")}
    return {
        **common,
        "address": address,
        "hostname": hostname,
        "path": settings["checks"]["heartbeat"],
        "expect": None,
    }


def _site_requests(settings, places):
    """
    The heartbeat of every public name at each of its addresses (``{name: [address]}``), and the
    extra checks of its kind.
    """
    requests = []
    for record in settings["records"]:
        extra = [
            check
            for check in settings["checks"]["paths"]
            if record["kind"] in check.get("kinds", [record["kind"]])
        ]
        for address in places[record["name"]]:
            requests.append({**_request(settings, record["name"], address), "group": record["elb"]})
            requests += [
                {**requests[-1], "path": check["path"], "expect": check} for check in extra
            ]
    return requests


def _smoke_requests(settings, instance):
    domains = settings["hosts"][instance["purpose"]]["domains"]
    own = {key: settings["checks"]["instance"][key] for key in ("scheme", "port")}
    return [
        {**_request(settings, domains[kind], instance["address"]), **own, "group": instance["name"]}
        for kind in ("lms", "cms")
        if domains.get(kind)
    ]


def _fetch(settings, requests, verify=True):
    return probe.fetch(requests, ca_bundle=settings["checks"]["ca_bundle"], verify=verify)


def _fetch_all(settings, requests, found, verify=True):
    """
    Fetch, note what was seen in ``found`` (``{group: {url: words}}``), and return what is wrong.
    """
    wrong = []
    for request, page in zip(requests, _fetch(settings, requests, verify), strict=True):
        problem = _problem(settings, request, page)
        url = f"{request['scheme']}://{request['hostname']}{request['path']}"
        found.setdefault(request["group"], {})[f"{url} at {request['address']}"] = (
            problem or _words(settings, page)
        )
        if problem:
            wrong.append((f"{url} at {request['address']} ({request['group']})", problem))
    return _alike(wrong, _PAGES_TOLD)


def _alike(wrong, most=None):
    """
    Sentences of ``(place, what is wrong there)``: what is the same in many places is told once, of
    ``most`` places at most.
    """
    places = {}
    for place, what in wrong:
        places.setdefault(what, []).append(place)
    return [
        ", ".join(some[:most])
        + (f" and {len(some) - most} more" if most and some[most:] else "")
        + f": {what}"
        for what, some in places.items()
    ]


def _problem(settings, request, page):
    """
    What is wrong with a page of the site, or ``None``.
    """
    expect = request["expect"]
    if page["error"] or settings["maintenance"]["marker"] in page["text"]:
        return _words(settings, page)
    if expect is None:
        return _heartbeat_problem(settings, page)
    if page["status"] != expect.get("status", 200):
        return f"{_words(settings, page)}, not {expect.get('status', 200)}"
    if expect.get("text") and expect["text"] not in page["text"]:
        return f"{page['status']} without {expect['text']!r}"
    return None


def _heartbeat_problem(settings, page):
    if page["status"] != 200:
        return _words(settings, page)
    try:
        parts = json.loads(page["text"])
    except ValueError:
        parts = None
    if not isinstance(parts, dict) or not parts:
        return f"200, but no heartbeat: {_short(page['text'])}"
    down = [
        name
        for name, part in parts.items()
        if part is False or (isinstance(part, dict) and part.get("status") is not True)
    ]
    return f"200, but {', '.join(sorted(down))} is down" if down else None


def _shows(settings, page):
    if page["error"]:
        return None
    if settings["maintenance"]["marker"] in page["text"]:
        return "maintenance" if page["status"] == 503 else "other"
    return "other" if _heartbeat_problem(settings, page) else "site"


def _words(settings, page):
    if page["error"]:
        return f"no answer ({page['error']})"
    if settings["maintenance"]["marker"] in page["text"]:
        return f"{page['status']}, the maintenance page"
    return f"{page['status']}: {_short(page['text'])}" if page["status"] != 200 else "200"


def _short(text):
    words = " ".join(text.split())
    return words[:_SHOWN_TEXT] + ("…" if len(words) > _SHOWN_TEXT else "") or "nothing in it"


def _leads(settings, answer):
    """
    Where a resolver leads a visitor: ``maintenance``, ``site`` (anywhere else), ``None`` if
    nowhere.
    """
    if answer["error"] or not (answer["targets"] or answer["addresses"]):
        return None
    page = settings["maintenance"]["distribution"]["domain_name"].rstrip(".").lower()
    return "maintenance" if page in answer["targets"] else "site"


def _said(settings, said):
    return {
        server: answer["error"] or ", ".join(answer["targets"] or answer["addresses"]) or "nothing"
        for server, answer in said.items()
    }


def _not_showing(settings, found, expect, prefix=""):
    """
    Sentences of the names that do not show ``expect`` to everybody.
    """
    wrong = []
    for name, (said, pages) in found.items():
        texts = _said(settings, said)
        parts = [
            f"{server} says {texts[server]}"
            for server, answer in said.items()
            if _leads(settings, answer) != expect
        ]
        parts += [
            f"{address} answers {_words(settings, page)}"
            for address, page in pages.items()
            if _shows(settings, page) != expect
        ]
        if not pages:
            parts.append("nobody gives an address")
        if parts:
            wrong.append((f"{prefix}{name}", ", ".join(parts)))
    return _alike(wrong)


def _described(settings, said, pages):
    shows = {_shows(settings, page) for page in pages.values()}
    status = {page["status"] for page in pages.values()}
    words = {
        address: "the site" if _shows(settings, page) == "site" else _words(settings, page)
        for address, page in pages.items()
    }
    return {
        "resolvers": _said(settings, said),
        "visitor": (
            "; ".join(f"{text} (from {address})" for address, text in words.items()) or "no address"
        ),
        "status": status.pop() if len(status) == 1 else None,
        "shows": shows.pop() if len(shows) == 1 else None,
    }
