"""
What the four existing orchestrations read, and what must be true after each
============================================================================

``orchestrate.edx.build_ami``, ``orchestrate.edx.update_edxapp_ami_sdb``, ``orchestrate.edx.deploy`` and
``orchestrate.aws.mitx_elb`` belong to MITx's ``salt-ops``; this package calls them and never edits them. They are told what to do by
process environment variables only, read when they are rendered.

The ``…_missing`` functions are the checks of ``mitx_existing.ran``: each returns what is not true yet, as sentences.
"""

import json

from salt.exceptions import CommandExecutionError


def __virtual__():
    return True


def environ(sls):
    """
    Return the environment variables for one of the four: exactly those that it reads (``ANSIBLE_FLAGS`` is read by ``deploy`` and
    then ignored, it is set because the runbook does).

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd mitx_existing.environ orchestrate.edx.deploy with_pillar=True
    """
    settings = __salt__["mitx_settings.get"]()
    base = {"ENVIRONMENT": settings["environment"]}
    network = {"VPC_NAME": settings["vpc_name"], "BUSINESS_UNIT": settings["business_unit"]}
    purposes = {"PURPOSES": ",".join(settings["purposes"])}
    build = {"PURPOSE": settings["draft_purpose"]}
    if settings["build"]["run_migrations"]:
        # Any value counts as yes there, "0" too: the variable is set or absent.
        build["RUN_MIGRATIONS"] = "1"
    known = {
        "orchestrate.edx.build_ami": base | network | build,
        "orchestrate.edx.update_edxapp_ami_sdb": base,
        "orchestrate.edx.deploy": base | network | purposes | {"ANSIBLE_FLAGS": "--tags install:configuration"},
        "orchestrate.aws.mitx_elb": base | network | purposes,
    }
    if sls not in known:
        raise CommandExecutionError(f"{sls} is none of the existing orchestrations: {', '.join(known)}")
    return known[sls]


def require_unchanged_settings():
    """
    Raise if MITx's settings of this environment are not those that the run began with: they are fetched anew by three of the
    four, and a change in the middle of a night would deploy one thing and register another.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd mitx_existing.require_unchanged_settings with_pillar=True
    """
    began_with = __salt__["mitx_run.pinned"]("environments_digest")
    now = __salt__["mitx_settings.get"](fresh=True)["environments_digest"]
    if began_with not in (None, now):
        raise CommandExecutionError(
            f"MITx's settings of this environment (environments:{__salt__['mitx_settings.environment']()}) have changed since the run "
            f"began: {began_with} then, {now} now. Nothing was changed. Put them back and run again, or begin a new run with a new window."
        )


def await_cloud():
    """
    Wait until the master's own minion works on nothing of Salt Cloud: what a killed command has begun there goes on, and a second
    launch beside it would not see what the first has not tagged yet. At most ``timeouts.existing`` seconds.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd mitx_existing.await_cloud with_pillar=True
    """

    def look():
        jobs = [
            f"{job['fun']} on {minion} (job {job.get('jid')})"
            for minion, running in __salt__["mitx_minions.of_master"]("saltutil.running").items()
            for job in (running if isinstance(running, list) else ())
            if _of_cloud(job)
        ]
        return not jobs, f"at work: {', '.join(jobs)}"

    timeout = __salt__["mitx_settings.get"]()["timeouts"]["existing"]
    __salt__["mitx_run.wait_until"](look, timeout, 2, "End of what Salt Cloud does on the master")


def keep(sls, answer):
    """
    Keep the whole output of an orchestration in the run's folder. Returns its path.
    """
    text = json.dumps(__salt__["mitx_journal.redact"](answer["data"], whole=True), indent=1, default=str)
    count = len(__salt__["mitx_journal.entries"](event="existing"))
    return __salt__["mitx_run.capture"](f"{count:03d}-{sls}.json", text)


def release_number():
    """
    Return the release number this run builds (int): pinned at the first call, one more than SDB holds then. ``build_ami`` raises
    it each time it runs, so a run that did not remember it would build again.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd mitx_existing.release_number with_pillar=True
    """
    pinned = __salt__["mitx_run.pinned"]("release_number")
    if pinned is not None:
        return pinned
    settings = __salt__["mitx_settings.get"]()
    number = recorded_release(settings) + 1
    return number if __opts__["test"] else __salt__["mitx_run.pin"]("release_number", number)


def recorded_release(settings):
    """
    Return the release number in SDB (int), 0 if there is none yet.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd mitx_existing.recorded_release with_pillar=True
    """
    value = __salt__["sdb.get"](settings["sdb"]["release"])
    try:
        return int(value) if value not in (None, "", settings["sdb"]["release"]) else 0
    except ValueError as err:
        raise CommandExecutionError(f"{settings['sdb']['release']} holds no number: {value!r}") from err


def build_missing():
    """
    What ``build_ami`` has not done yet: two AMIs of this run's release number, and that number in SDB.

    Refuses when only one of the two exists (killed between them: building again would fail on its name), or when a fleet serves
    the purposes whose databases ``RUN_MIGRATIONS`` would migrate.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd mitx_existing.build_missing with_pillar=True
    """
    settings = __salt__["mitx_settings.get"]()
    number = release_number()
    images = __salt__["mitx_images.find"](settings, number)
    there = {role: image for role, image in images.items() if image}
    failed = [f"{image['name']} ({image['id']})" for image in there.values() if image["state"] not in ("pending", "available")]
    if failed:
        raise CommandExecutionError(f"Failed in EC2, for good: {', '.join(failed)}. {build_again(settings, number)}")
    recorded = recorded_release(settings)
    if len(there) < 2 and recorded == number:
        raise CommandExecutionError(
            f"{settings['sdb']['release']} says that release {number} was built, and EC2 lists {len(there)} of its two AMIs. Right after a "
            f"build it may list them a minute later: run again. {build_again(settings, number)}"
        )
    if len(there) == 1:
        role, image = next(iter(there.items()))
        raise CommandExecutionError(
            f"Of release {number} there is the AMI {image['name']} ({image['id']}), the other one is missing: the build was "
            f"interrupted between them. Deregister {image['id']}, then run again: {__salt__['mitx_phase.next_command']()}"
        )
    if len(there) == 2:
        if recorded == number - 1 and not __opts__["test"]:
            # Killed just before its last step: do that step, instead of building a second time.
            _set_sdb(settings["sdb"]["release"], str(number))
            recorded = number
        return [] if recorded == number else [f"{settings['sdb']['release']} is {recorded}, not {number}"]
    if recorded != number - 1:
        raise CommandExecutionError(
            f"{settings['sdb']['release']} is {recorded} although this run was to build release {number}: somebody else has built "
            "meanwhile. Nothing was changed. Begin a new run with a new window, or put the number back."
        )
    if settings["build"]["run_migrations"] and __salt__["mitx_fleet.current"](settings):
        raise CommandExecutionError(
            "mitx:…:build:run_migrations is set while a fleet serves these purposes: its databases would be migrated under it. Nothing was changed."
        )
    return [f"there are no AMIs of {settings['codename']} release {number}"]


def build_again(settings, number):
    """
    Return how a build is made again, as sentences: by hand, since what is thrown away may have cost hours.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd mitx_existing.build_again '{}' 1 with_pillar=True
    """
    amis = " and ".join(name.format(release=number) for name in settings["amis"].values())
    bases = ",".join(settings["base_instances"].values())
    return (
        f"To build release {number} again, throw away what is left of it: deregister the AMIs {amis} (aws ec2 deregister-image), destroy the "
        f"bases (salt <the master's minion> cloud.destroy {bases}), put the number back (salt-run sdb.set {settings['sdb']['release']} {number - 1}), then run: "
        "salt-run state.orchestrate orchestrate.mitx.prepare"
    )


def since_build(event):
    """
    Return whether the run's journal holds an ``event`` since ``build_ami`` last ran.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd mitx_existing.since_build bases_configured with_pillar=True
    """
    lines = __salt__["mitx_journal.entries"]()
    builds = [line["time"] for line in lines if line["event"] == "existing" and line["sls"] == "orchestrate.edx.build_ami"]
    return any(line["event"] == event and line["time"] > max(builds, default="") for line in lines)


def record_missing():
    """
    What ``update_edxapp_ami_sdb`` has not done yet: the AMI ids in SDB, the base instances gone.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd mitx_existing.record_missing with_pillar=True
    """
    settings = __salt__["mitx_settings.get"]()
    images = __salt__["mitx_run.pinned"]("images") or {}
    missing = []
    for role, key in settings["sdb"]["ami"].items():
        found = __salt__["sdb.get"](key)
        if not images.get(role) or found != images[role]:
            missing.append(f"{key} is {found!r}, not {images.get(role)!r}")
    bases = list(settings["base_instances"].values())
    missing += [f"the base instance {i['name']} ({i['id']}) is still there" for i in __salt__["mitx_fleet.find"](names=bases)]
    return _readable(settings, missing)


def deploy_missing():
    """
    What ``deploy`` has not done yet: every instance of the new release, and a completed configuration of all of them. Whether
    that succeeded, only Ansible's recap tells (``mitx_hosts.configured``); here counts that this run has run it to its end, and
    that no recap has told of a failure since.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd mitx_existing.deploy_missing with_pillar=True
    """
    settings = __salt__["mitx_settings.get"]()
    number = release_number()
    missing = [f"there is no instance {name}" for name in __salt__["mitx_fleet.new"](settings, number)["missing"]]
    lines = __salt__["mitx_journal.entries"]()
    ended = [
        line["time"]
        for line in lines
        if line["event"] == "existing" and line["sls"] == "orchestrate.edx.deploy" and line["stage"] == "after"
    ]
    if not ended:
        missing.append("orchestrate.edx.deploy has not run to its end in this run")
    elif any(line["event"] == "unconfigured" and line["time"] > ended[-1] for line in lines):
        missing.append("Ansible has not configured every host")
    return _readable(settings, missing, amis=True)


def attach_missing():
    """
    What ``mitx_elb`` has not done yet: every new web instance registered with the load balancers of its purpose.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd mitx_existing.attach_missing with_pillar=True
    """
    settings = __salt__["mitx_settings.get"]()
    if __opts__["test"] and __salt__["mitx_run.pinned"]("new_fleet") is None:
        return ["the new fleet is not deployed yet"]
    described = __salt__["mitx_elb.describe"](settings)
    fleet = __salt__["mitx_fleet.recorded"]("new")
    missing = []
    for elb in settings["elbs"]:
        wanted = {i["id"]: i["name"] for i in fleet if i["role"] == "edx" and i["purpose"] == elb["purpose"]}
        there = set((described.get(elb["name"]) or {}).get("members") or ())
        missing += [f"{name} ({id_}) is not in {elb['name']}" for id_, name in wanted.items() if id_ not in there]
    return _readable(settings, missing)


def _readable(settings, missing, amis=False):
    """
    ``missing``, once it is certain that what the existing orchestration is about to read from SDB is this run's: with another
    codename, which is one key for every environment, or another number it would work on somebody else's instances.
    """
    if not missing or __opts__["test"]:
        return missing
    wanted = {settings["sdb"]["codename"]: settings["codename"], settings["sdb"]["release"]: release_number()}
    if amis:
        wanted |= {settings["sdb"]["ami"][role]: id_ for role, id_ in (__salt__["mitx_run.pinned"]("images") or {}).items()}
    wrong = [
        f"{key} is {found!r}, this run's is {value!r}"
        for key, value in wanted.items()
        if str(found := __salt__["sdb.get"](key)) != str(value)
    ]
    if wrong:
        raise CommandExecutionError(
            f"Somebody else has changed what the existing orchestrations read: {'; '.join(wrong)}. Nothing was changed. Find out who, put it back "
            f"(salt-run sdb.set), then run again: {__salt__['mitx_phase.next_command']()}. In the phase attach, the new fleet can be registered "
            "without it: pillar='{mitx: {attach: {without_existing: True}}}'"
        )
    return missing


def _of_cloud(job):
    # deploy and build_ami have the runner started by the master's minion: saltutil.runner cloud.map_run.
    called = [job.get("fun"), *(job.get("arg") or ())] if job.get("fun") == "saltutil.runner" else [job.get("fun")]
    return any(str(one).startswith("cloud.") for one in called)


def _set_sdb(uri, value):
    with __salt__["mitx_journal.door"]("sdb", change=True, uri=uri, value=value):
        if not __salt__["sdb.set"](uri, value):
            raise CommandExecutionError(f"{uri} could not be set to {value}")
