"""The public side's own view of the fake AWS, which its call log leaves out."""

import threading
import time

import boto3
import botocore.config
import botocore.exceptions
import botocore.parsers

import sandbox.config

ERRORS = (
    botocore.exceptions.BotoCoreError,
    botocore.exceptions.ClientError,
    botocore.parsers.ResponseParserError,
)


def client(config, service, agent="sandbox-internal"):
    """
    A boto3 client; the fake AWS knows it by its user agent, and tells ``sandbox-dns`` only of what
    is in sync.
    """
    return boto3.client(
        service,
        endpoint_url=sandbox.config.environment(config)["AWS_ENDPOINT_URL"],
        aws_access_key_id="sandbox",
        aws_secret_access_key="sandbox",
        region_name=config["region"],
        config=botocore.config.Config(
            user_agent=agent,
            connect_timeout=2,
            read_timeout=4,
            retries={"mode": "standard", "total_max_attempts": 2},
        ),
    )


class Recent:
    """
    What ``fetch()`` returned, at most ``seconds`` old. While AWS does not answer it is what was
    known last: names and load balancers go on working when AWS's interface does not. Safe to use
    from several threads.
    """

    def __init__(self, fetch, seconds):
        self._fetch, self._seconds = fetch, seconds
        self._lock, self._value, self._until, self._known = threading.Lock(), None, 0.0, False

    def get(self):
        """The value; raises one of :data:`ERRORS` only if it was never known."""
        with self._lock:
            if time.monotonic() >= self._until:
                try:
                    self._value, self._known = self._fetch(), True
                except ERRORS:
                    if not self._known:
                        raise
                self._until = time.monotonic() + self._seconds
            return self._value

    @property
    def last(self):
        """The value as it was known last, however old; None if it never was."""
        return self._value

    def peek(self):
        """The value if it is recent enough, else None; never asks AWS."""
        return self._value if self._known and time.monotonic() < self._until else None
