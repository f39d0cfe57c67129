#!/edx/app/edxapp/venvs/edxapp/bin/python
"""
How many jobs wait in the queues of this host's Open edX, as one number: pillar ``drain.command``.

Asked is RabbitMQ, in the virtual host that Open edX's own settings name, for each queue of LMS and
Studio; with kombu of edxapp's environment. What a worker has taken already is not in the number:
its stop waits for the end of it. The password stays in the settings, no argument has it.

    queue_depth.py [SETTINGS …]      default: /edx/etc/lms.yml /edx/etc/studio.yml

Exit status 1, with a sentence on stderr, where the number cannot be known: no settings, no broker,
or none of the queues is there, which is another virtual host rather than an empty one.

Written for Python 3.5, which Juniper's hosts have.

source: https://github.com/openedx/edx-platform/blob/open-release/koa.master/lms/envs/production.py
"""

import os
import sys

import kombu
import yaml

SETTINGS = ("/edx/etc/lms.yml", "/edx/etc/studio.yml")
# Queues that a release has by itself; settings may name others (CELERY_QUEUES).
QUEUES = ("default", "high", "high_mem", "low")
# Seconds.
TIMEOUT = 10


def read(paths):
    """Return ``{path: settings}`` of those that are there."""
    found = {}
    for path in paths:
        if os.path.exists(path):
            with open(path, encoding="utf-8") as source:
                found[path] = yaml.safe_load(source) or {}
    return found


def names(path, settings):
    """Return the queues of one service."""
    service = "cms" if "studio" in os.path.basename(path) else "lms"
    own = settings.get("CELERY_QUEUES") or []
    return set(own) | {"edx.{}.core.{}".format(service, queue) for queue in QUEUES}


def connection(settings):
    """Return a connection as Open edX makes it."""
    host, _, port = str(settings.get("CELERY_BROKER_HOSTNAME") or "").partition(":")
    return kombu.Connection(
        hostname=host,
        port=int(port) if port else None,
        userid=settings.get("CELERY_BROKER_USER"),
        password=settings.get("CELERY_BROKER_PASSWORD"),
        virtual_host=settings.get("CELERY_BROKER_VHOST") or "/",
        transport="amqp",
        ssl=settings.get("CELERY_BROKER_USE_SSL") or False,
        connect_timeout=TIMEOUT,
    )


def depths(broker, queues):
    """Return ``{queue: jobs}`` of those that are there."""
    found = {}
    for queue in sorted(queues):
        # A queue that is not there closes its channel.
        channel = broker.channel()
        try:
            found[queue] = channel.queue_declare(queue=queue, passive=True).message_count
            channel.close()
        except broker.channel_errors as err:
            if getattr(err, "reply_code", getattr(err, "code", None)) != 404:
                raise
    return found


def brokers(known):
    """Return ``[(settings, queues)]``: LMS and Studio mostly share one virtual host."""
    found = {}
    for path, settings in known.items():
        keys = ("HOSTNAME", "VHOST", "USER", "PASSWORD", "USE_SSL")
        where = tuple(str(settings.get("CELERY_BROKER_" + key)) for key in keys)
        found.setdefault(where, (settings, set()))[1].update(names(path, settings))
    return list(found.values())


def main(paths):
    """Print the number; return the exit status."""
    try:
        known = read(paths)
    except (OSError, ValueError, yaml.YAMLError) as err:
        return fail("the settings of Open edX cannot be read: {}".format(err))
    if not known:
        return fail("no settings of Open edX are at {}".format(", ".join(paths)))
    total = 0
    for settings, queues in brokers(known):
        where = "{}, virtual host {!r}".format(
            settings.get("CELERY_BROKER_HOSTNAME"), settings.get("CELERY_BROKER_VHOST")
        )
        try:
            with connection(settings) as broker:
                found = depths(broker, queues)
        except Exception as err:
            return fail("{} cannot be asked: {}: {}".format(where, type(err).__name__, err))
        if not found:
            return fail("{} has none of the queues {}".format(where, ", ".join(sorted(queues))))
        total += sum(found.values())
    print(total)
    return 0


def fail(text):
    """Tell why no number can be told; return the exit status."""
    sys.stderr.write("queue_depth.py: {}\n".format(text))
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or list(SETTINGS)))
