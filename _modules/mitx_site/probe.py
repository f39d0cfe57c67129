"""
Asking name servers and web servers, many at once
=================================================

What :py:mod:`checks` judges is gathered here: names, asked of given resolvers, and pages, fetched
from a given address under a given name. Nothing here knows what is right, waits for anything, or
changes anything.

:depends: dnspython, urllib3
"""

import concurrent.futures
import ipaddress
import socket
import ssl

from salt.exceptions import CommandExecutionError

from mitx_run import errors

try:
    import dns.exception
    import dns.rdatatype
    import dns.resolver
    import urllib3
    import urllib3.exceptions

    HAS_LIBS = True
except ImportError:
    HAS_LIBS = False


_DNS_SECONDS = 5

_HTTP_SECONDS = 10

_THREADS = 32

_SYSTEM = "this machine's resolver"

_TOLD = "where they cannot be found by name, set mitx:checks:authoritative"


def resolve(names, servers=()):
    """
    Ask every server for the address of every name, at once. Returns ``{name: {server: {targets,
    addresses, error}}}``: ``targets`` the names that it leads to (lower case, no trailing dot),
    ``addresses`` those at the end, ``error`` ``None`` or what went wrong. The authoritative server
    of a zone gives a target in another zone, and no address.

    servers
        ``host``, ``host:port`` or ``[address]:port`` each; none: this machine's own resolver.
    """
    resolvers = {server: _resolver(server) for server in servers} or {
        _SYSTEM: dns.resolver.Resolver()
    }
    jobs = [(name, server) for name in names for server in resolvers]
    answers = _parallel(_ask, [(resolvers[server], name) for name, server in jobs])
    found = {name: {} for name in names}
    for (name, server), answer in zip(jobs, answers, strict=True):
        found[name][server] = answer
    return found


def name_servers(zone, servers=()):
    """
    Return the addresses of the zone's own name servers, as the first of ``servers`` gives them.

    Raises ``CommandExecutionError`` (``transient``) if it gives none.
    """
    resolver = _resolver(servers[0]) if servers else dns.resolver.Resolver()
    try:
        names = [
            str(each.target)
            for each in resolver.resolve(zone, "NS", search=False, lifetime=_DNS_SECONDS)
        ]
    except dns.exception.DNSException as err:
        raise errors.Transient(
            f"The name servers of {zone} are not known: {_short(err)}; {_TOLD}"
        ) from err
    answers = _parallel(_ask, [(resolver, name) for name in names])
    addresses = [answer["addresses"][0] for answer in answers if answer["addresses"]]
    if not addresses:
        raise errors.Transient(
            f"None of the name servers of {zone} has an address ({', '.join(names)}); {_TOLD}"
        )
    return addresses


def fetch(requests, ca_bundle=None, verify=True):
    """
    Send all requests at once and return an answer to each, in order: ``{status: int | None, text:
    str, error: None | str}``. No redirect is followed and nothing is tried twice.

    requests
        ``{scheme, address, port, hostname, path}`` each: connected to ``address``, asked for
        ``hostname`` in SNI and Host.
    ca_bundle
        Path of the authorities to trust; without it, this machine's.
    verify
        False: any certificate will do.
    """
    context = _context(ca_bundle, verify)
    return _parallel(_fetch, [(context, request) for request in requests])


def _parallel(function, jobs):
    """
    The results of ``function`` for each tuple of arguments, in order. Salt's dunders do not work in
    these threads: what is needed comes as an argument.
    """
    if not jobs:
        return []
    with concurrent.futures.ThreadPoolExecutor(min(_THREADS, len(jobs))) as pool:
        return list(pool.map(lambda job: function(*job), jobs))


def _resolver(where):
    host, port = where, 53
    if where.startswith("["):
        host, _, rest = where[1:].partition("]")
        port = rest[1:] or 53
    elif where.count(":") == 1:
        host, port = where.split(":")
    resolver = dns.resolver.Resolver(configure=False)
    resolver.nameservers, resolver.port = [_address(host)], int(port)
    return resolver


def _address(host):
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        pass
    try:
        return socket.getaddrinfo(host, 53, type=socket.SOCK_DGRAM)[0][4][0]
    except OSError as err:
        raise errors.Transient(f"The resolver {host} has no address: {err}") from err


def _ask(resolver, name):
    try:
        answer = resolver.resolve(
            name.rstrip(".") + ".",
            "A",
            search=False,
            raise_on_no_answer=False,
            lifetime=_DNS_SECONDS,
        )
    except dns.exception.DNSException as err:
        return {"targets": [], "addresses": [], "error": _short(err)}
    rrsets = answer.response.answer
    return {
        "targets": [
            str(each.target).rstrip(".").lower()
            for rrset in rrsets
            if rrset.rdtype == dns.rdatatype.CNAME
            for each in rrset
        ],
        "addresses": [
            each.address for rrset in rrsets if rrset.rdtype == dns.rdatatype.A for each in rrset
        ],
        "error": None if rrsets else "no such record",
    }


def _short(err):
    # dnspython's own texts name every server and attempt over several lines.
    known = {
        dns.resolver.NXDOMAIN: "no such name",
        dns.resolver.LifetimeTimeout: f"no answer in {_DNS_SECONDS} s",
        dns.resolver.NoNameservers: "it refuses or fails",
    }
    return known.get(type(err)) or f"{type(err).__name__}: {err}"


def _context(ca_bundle, verify):
    try:
        context = ssl.create_default_context(cafile=ca_bundle)
    except OSError as err:
        raise CommandExecutionError(
            f"The authorities in {ca_bundle} (mitx:checks:ca_bundle) cannot be read: {err}"
        ) from err
    if not verify:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        # It was asked for; once a request on the operator's terminal is no help.
        urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
    return context


def _fetch(context, request):
    options = {"timeout": urllib3.Timeout(total=_HTTP_SECONDS), "retries": False}
    if request["scheme"] == "https":
        # No assert_hostname: urllib3 would switch the check off in the context, which all threads
        # share. The context itself compares the certificate with server_hostname.
        pool = urllib3.HTTPSConnectionPool(
            request["address"],
            request["port"],
            ssl_context=context,
            server_hostname=request["hostname"],
            **options,
        )
    else:
        pool = urllib3.HTTPConnectionPool(request["address"], request["port"], **options)
    headers = {"Host": request["hostname"], "User-Agent": "saltext-mitx", "Connection": "close"}
    try:
        with pool:
            answer = pool.request("GET", request["path"], headers=headers, redirect=False)
        return {
            "status": answer.status,
            "text": answer.data.decode("utf-8", "replace"),
            "error": None,
        }
    except (urllib3.exceptions.HTTPError, OSError) as err:
        return {"status": None, "text": "", "error": _reason(err)}


def _reason(err):
    # urllib3 puts the connection's address in memory first, and the reason last.
    return f"{type(err).__name__}: {str(err).rpartition('>: ')[2] or err}"
