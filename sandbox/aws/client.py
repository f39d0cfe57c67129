"""Driving a fake AWS, in this process or elsewhere."""

import functools
import json
import pathlib
import threading
import urllib.error
import urllib.parse
import urllib.request

import boto3
import botocore.config

REGION = "us-east-1"
# moto's state belongs to the process: two fake AWS in one would share it.
_only_one = threading.Lock()


@functools.cache
def _session():
    """
    One for all clients: it keeps botocore's descriptions of the services, which are slow to read.
    """
    return boto3.Session()


@functools.cache
def _client(url, service, agent, region, config):
    return _session().client(
        service,
        endpoint_url=url,
        region_name=region,
        aws_access_key_id="sandbox",
        aws_secret_access_key="sandbox",
        config=botocore.config.Config(user_agent_extra=agent, **json.loads(config)),
    )


class AWS:
    """The fake AWS that listens at ``url``."""

    def __init__(self, url):
        self.url = url
        self._http = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def client(self, service, agent="sandbox-internal", region=REGION, **config):
        """
        Return a boto3 client.

        agent: who asks; calls of ``sandbox-internal`` are not logged and spared by faults. config:
        of botocore's Config.
        """
        return _client(self.url, service, agent, region, json.dumps(config, sort_keys=True))

    def calls(self, agent=None, writes=None, service=None, operation=None):
        """
        Return the logged calls, oldest first; writes: True only those that change something, False
        only the others.
        """
        wanted = {"agent": agent, "write": writes, "service": service, "operation": operation}
        given = {
            name: str(value).lower() if isinstance(value, bool) else value
            for name, value in wanted.items()
        }
        return self._ask(
            "GET",
            "calls",
            query={name: value for name, value in given.items() if value is not None},
        )

    def clear_calls(self):
        """Empty the log of calls."""
        self._ask("DELETE", "calls")

    def fault(self, **description):
        """
        Add a fault (fields: ``sandbox.aws.faults.Fault``); returns it with its id. ValueError if it
        makes no sense.
        """
        return self._ask("POST", "faults", description)

    def faults(self):
        """Return the faults that stand, with how many calls each has ``seen`` and ``hit``."""
        return self._ask("GET", "faults")

    def clear_faults(self, fault_id=None):
        """Take all faults away, or one; what they held pending goes on."""
        self._ask("DELETE", "faults", query={} if fault_id is None else {"id": fault_id})

    def settings(self, **changes):
        """Change times (fields: ``sandbox.aws.settings.Settings``); returns all of them."""
        return self._ask("POST", "settings", changes)

    def health(self, overrides=None):
        """
        Say which instances pass health checks ({instance id or ``*``: True, False, None: ask it});
        returns what is said.
        """
        return self._ask("POST", "health", overrides or {})

    def distribution(self, distribution, status):
        """Fix a distribution's status: InProgress, Deployed, or None for what it really is."""
        self._ask("POST", f"distributions/{distribution}", {"status": status})

    def enforce(self, policy):
        """
        Refuse, from now on, what this IAM policy does not allow to the package; None: nothing.
        """
        return self._ask("POST", "policy", {"policy": policy})

    def reset(self):
        """Start over with an empty AWS, no faults and an empty log; settings and health stay."""
        self._ask("POST", "reset", {})
        self.clear_calls()

    def _ask(self, method, path, content=None, query=None):
        url = f"{self.url}/_sandbox/{path}?{urllib.parse.urlencode(query or {})}"
        body = None if content is None else json.dumps(content).encode()
        try:
            with self._http.open(
                urllib.request.Request(url, body, method=method), timeout=30
            ) as response:
                return json.load(response)
        except urllib.error.HTTPError as err:
            raise ValueError(json.load(err)["error"]) from err


class FakeAWS(AWS):
    """
    A fake AWS inside this process, for tests: ``with FakeAWS(tmp_path) as aws: …``, or ``start()``
    and ``stop()``.

    folder: the sandbox's folder; the log is ``aws/calls.jsonl`` in it. health: as for
    ``sandbox.aws.application.Application``. times: fields of Settings, quick ones by default.
    """

    def __init__(self, folder, health=None, host="127.0.0.1", port=0, **times):
        super().__init__(None)
        self._options = {
            "folder": pathlib.Path(folder),
            "health": health,
            "host": host,
            "port": port,
        }
        self._times = times
        self._server = None

    def start(self):
        """
        Start with an empty AWS; RuntimeError while another one runs in this process. Returns self.
        """
        from sandbox.aws.server import (
            Server,
        )  # moto: half a second, which callers of a remote AWS need not wait
        from sandbox.aws.settings import QUICK, Settings

        if not _only_one.acquire(blocking=False):
            raise RuntimeError(
                "a FakeAWS runs in this process already: stop it first, moto has one state a"
                " process"
            )
        try:
            self._server = Server(settings=Settings(**QUICK | self._times), **self._options)
        except BaseException:
            _only_one.release()
            raise
        self._server.start()
        self.url = self._server.url
        self.reset()
        return self

    def stop(self):
        """Stop serving."""
        self._server.stop()
        _only_one.release()

    __enter__ = start

    def __exit__(self, *_):
        self.stop()
