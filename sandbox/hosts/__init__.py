"""
The sandbox's hosts: for each running EC2 instance a folder, a loopback address and real processes.

``python -m sandbox.hosts --dir $SANDBOX`` watches the fake AWS and gives each running instance that
carries a tag ``role`` a host: ``init`` (a systemd stand-in) which runs a real ``salt-minion``, a
real ``supervisord`` and, on web hosts, ``gitreload``; supervisord runs the Open edX stand-in
(``lms``, ``cms``, ``nginx``, or the workers).

::

    hosts/<instance-id>/
        host.json         what the host is, for everybody else (written by the watcher only, whole)
        root/             the host's disk and HOME, copied from images/<ami-id>/root at its first
                          boot
        minion/           configuration, grains, keys and cache of its minion: never part of an
                          image
        logs/             logs of init, minion and supervisord
    s/<instance-id>/      its sockets

What else must exist (written by others): ``config.json`` (``python``, ``repository``,
``paths.short``, ``ports.aws``, ``ports.master_publish``, ``ports.master_return``, optional
``ports.host``), ``pki/server.crt`` and ``pki/server.key``, the databases
(:func:`sandbox.hosts.databases.seed_databases`), and in each image a git checkout of the code with
``openedx/core/release.json`` (:mod:`sandbox.hosts.release`).

The modules that run inside a host use the standard library only and stay small: some 60 hosts share
one machine.
"""
