"""
The names that MITx gives, derived from the settings of an environment
======================================================================

Those of MITx's ``salt-ops`` repository as of December 2020, the Juniper to Koa upgrade. Nothing
else formats a name.
"""


def derived(settings):
    """
    Return what follows from ``settings`` (``settings``: environment, codename, purposes, hosts,
    release, build, maintenance)::

        {amis, base_instances: {role: name}, sdb: {codename, release, ami: {role: uri}}, source: the
         same of the environment whose
         release is taken or None, draft_purpose, instances: [{name, role, purpose, number}], elbs:
         [{name, purpose, domains}],
         records: [{name, kind, purpose, elb}]}

    Names of AMIs and instances hold ``{release}``, the number that is known later. Fills in
    ``release:branch`` and ``release:onto``.
    """
    environment, codename, purposes = (
        settings["environment"],
        settings["codename"],
        settings["purposes"],
    )
    release = settings["release"]
    release["branch"] = release["branch"] or f"mitx/{codename}"
    release["onto"] = release["onto"] or release_branch(codename)
    drafts = [purpose for purpose in purposes if purpose.endswith("-draft")]
    elbs = [
        elb
        for purpose in settings["hosts"]
        for elb in _elbs(environment, purpose, settings["hosts"][purpose]["domains"])
    ]
    return {
        **_names(environment, codename),
        "source": _names(release["from"], codename) if release["from"] else None,
        "draft_purpose": settings["build"]["purpose"] or (drafts or purposes or [None])[0],
        "instances": _instances(environment, settings["hosts"]),
        "elbs": elbs,
        "records": _records(settings["hosts"], settings["maintenance"]["domains"], elbs),
    }


def _instances(environment, hosts):
    return [
        {
            "name": f"{role}-{environment}-{purpose}-{number}-v{{release}}",
            "role": role,
            "purpose": purpose,
            "number": number,
        }
        for purpose, host in hosts.items()
        for role, count in host["instances"].items()
        for number in range(count)
    ]


def _records(hosts, moved, elbs):
    """The host names that are ``moved`` to the page and back, each with what serves it."""
    serving = {(elb["purpose"], kind): elb["name"] for elb in elbs for kind in elb["domains"]}
    return [
        {
            "name": host["domains"][kind],
            "kind": kind,
            "purpose": purpose,
            "elb": serving[purpose, kind],
        }
        for purpose, host in hosts.items()
        for kind in moved
        if kind in host["domains"]
    ]


def _names(environment, codename):
    return {
        "amis": {
            "edx": f"edxapp_{environment}_{codename}_base_release_{{release}}",
            "edx-worker": f"edx_worker_{environment}_{codename}_base_release_{{release}}",
        },
        "base_instances": {
            "edx": f"edxapp-{environment}-{codename}-base",
            "edx-worker": f"edx-worker-{environment}-{codename}-base",
        },
        "sdb": {
            "codename": "sdb://consul/edx_codename",
            "release": f"sdb://consul/edxapp-{environment}-{codename}-release-version",
            "ami": {
                "edx": f"sdb://consul/edx_{environment}_{codename}_ami_id",
                "edx-worker": f"sdb://consul/edx_worker_{environment}_{codename}_ami_id",
            },
        },
    }


def _elbs(environment, purpose, domains):
    """
    The load balancers of a purpose: a draft one serves Studio too, a live one has a second ELB for
    it.
    """
    main = {"name": f"edx-{purpose}-{environment}"[:32].strip("-"), "purpose": purpose}
    if not purpose.endswith("-live"):
        return [{**main, "domains": list(domains)}]
    studio = f"edx-{purpose.removesuffix('-live')}-studio-live-{environment}"[:32].strip("-")
    return [
        {**main, "domains": [kind for kind in domains if kind != "cms"]},
        {"name": studio, "purpose": purpose, "domains": ["cms"]},
    ]


def release_branch(codename):
    """
    Return Open edX's own branch of a release. Up to Sumac it is ``open-release/<codename>.master``,
    from Teak on ``release/<codename>``; the names follow the alphabet.

    :source: https://docs.openedx.org/en/latest/community/release_notes/index.html
    """
    first = str(codename)[:1].lower()
    return f"release/{codename}" if first >= "t" else f"open-release/{codename}.master"
