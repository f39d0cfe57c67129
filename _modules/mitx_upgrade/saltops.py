"""
What the four existing orchestrations read, and what must be true after each
============================================================================

``orchestrate.edx.build_ami``, ``orchestrate.edx.update_edxapp_ami_sdb``, ``orchestrate.edx.deploy``
and ``orchestrate.aws.mitx_elb`` belong to MITx's ``salt-ops``; this package calls them and never
edits them. They are told what to do by process environment variables only, read when they are
rendered.

What each has not done yet, :py:func:`pending` returns, before it runs and after it.
"""

import json

from salt.exceptions import CommandExecutionError

from mitx_fleet import discard, elb, fleets, images, instances
from mitx_hosts import jobs
from mitx_run import events, journal, phases, record, settings
from mitx_run.dunders import __salt__


def environ(run, sls):
    """
    Return the environment variables for one of the four: exactly those that it reads
    (``ANSIBLE_FLAGS`` is read by ``deploy`` and then ignored, it is set because the runbook does).
    """
    base = {"ENVIRONMENT": run.settings["environment"]}
    network = {"VPC_NAME": run.settings["vpc_name"], "BUSINESS_UNIT": run.settings["business_unit"]}
    purposes = {"PURPOSES": ",".join(run.settings["purposes"])}
    build = {"PURPOSE": run.settings["draft_purpose"]}
    if run.settings["build"]["run_migrations"]:
        # Any value counts as yes there, "0" too: the variable is set or absent.
        build["RUN_MIGRATIONS"] = "1"
    known = {
        "orchestrate.edx.build_ami": base | network | build,
        "orchestrate.edx.update_edxapp_ami_sdb": base,
        "orchestrate.edx.deploy": (
            base | network | purposes | {"ANSIBLE_FLAGS": "--tags install:configuration"}
        ),
        "orchestrate.aws.mitx_elb": base | network | purposes,
    }
    if sls not in known:
        raise CommandExecutionError(
            f"{sls} is none of the existing orchestrations: {', '.join(known)}"
        )
    return known[sls]


def require_unchanged_settings(run):
    """
    Raise if MITx's settings of this environment are not those that the run began with: they are
    fetched anew by three of the four, and a change in the middle of a night would deploy one thing
    and register another.
    """
    began_with = record.pinned(run, "environments_digest")
    now = settings.get(run.environment, fresh=True)["environments_digest"]
    if began_with not in (None, now):
        raise CommandExecutionError(
            f"MITx's settings of this environment (environments:{run.environment}) have changed"
            f" since the run began: {began_with} then, {now} now. Nothing was changed. Put them"
            " back and run again, or begin a new run with a new window."
        )


def require_buildable(run):
    """
    Raise unless ``build_ami`` will find each base instance that is there already, one of a build
    that broke off say.
    """
    names = list(run.settings["base_instances"].values())
    if instances.find(run, names=names):
        grains = jobs.answers(run, names, "grains.item", ["roles", "environment"])
        discard.require_findable(run, grains)


def save_output(run, sls, answer):
    """
    Keep the whole output of an orchestration in the run's folder. Returns its path.
    """
    text = json.dumps(journal.redact(answer["data"], whole=True), indent=1, default=str)
    count = len(events.read(run, "existing"))
    return record.capture(run, f"{count:03d}-{sls}.json", text)


def pending(run, sls):
    """
    Return what one of the four has not done yet, as sentences; empty: there is nothing to do. What
    running it again would double is refused with ``CommandExecutionError``.
    """
    return PENDING[sls](run)


def pending_build(run):
    """
    What ``build_ami`` has not done yet: two AMIs of this run's release number, and that number in
    SDB.

    Refuses when only one of the two exists (killed between them: building again would fail on its
    name), or when a fleet serves the purposes whose databases ``RUN_MIGRATIONS`` would migrate.
    """
    number = images.release_number(run)
    there = {role: image for role, image in images.find(run, number).items() if image}
    recorded = images.recorded_release(run.settings)
    _refuse_broken(run, number, there, recorded)
    key = run.settings["sdb"]["release"]
    if len(there) == 2:
        if recorded == number - 1 and not run.test:
            # Killed just before its last step: do that step, instead of building a second time.
            _set_sdb(run, key, str(number))
            recorded = number
        return [] if recorded == number else [f"{key} is {recorded}, not {number}"]
    if recorded != number - 1:
        raise CommandExecutionError(
            f"{key} is {recorded} although this run was to build release {number}: somebody else"
            " has built meanwhile. Nothing was changed. Begin a new run with a new window, or put"
            " the number back."
        )
    if run.settings["build"]["run_migrations"] and fleets.current(run):
        raise CommandExecutionError(
            "mitx:…:build:run_migrations is set while a fleet serves these purposes: its databases"
            " would be migrated under it. Nothing was changed."
        )
    return [f"there are no AMIs of {run.settings['codename']} release {number}"]


def _refuse_broken(run, number, there, recorded):
    """AMIs of which no build, and no wait, makes the two that are needed."""
    failed = [
        f"{image['name']} ({image['id']})"
        for image in there.values()
        if image["state"] not in ("pending", "available")
    ]
    again = images.build_again(run.settings, number)
    if failed:
        raise CommandExecutionError(f"Failed in EC2, for good: {', '.join(failed)}. {again}")
    if len(there) < 2 and recorded == number:
        raise CommandExecutionError(
            f"{run.settings['sdb']['release']} says that release {number} was built, and EC2 lists"
            f" {len(there)} of its two AMIs. Right after a build it may list them a minute later:"
            f" run again. {again}"
        )
    if len(there) == 1:
        image = next(iter(there.values()))
        raise CommandExecutionError(
            f"Of release {number} there is the AMI {image['name']} ({image['id']}), the other one"
            " is missing: the build was interrupted between them. Throw away what is left of it:"
            " salt-run mitx.discard_build (first with test=True), then run again:"
            f" {phases.next_command(run)}"
        )


def pending_record(run):
    """
    What ``update_edxapp_ami_sdb`` has not done yet: the AMI ids in SDB, the base instances gone.
    """
    images = record.pinned(run, "images") or {}
    missing = []
    for role, key in run.settings["sdb"]["ami"].items():
        found = __salt__["sdb.get"](key)
        if not images.get(role) or found != images[role]:
            missing.append(f"{key} is {found!r}, not {images.get(role)!r}")
    bases = list(run.settings["base_instances"].values())
    missing += [
        f"the base instance {i['name']} ({i['id']}) is still there"
        for i in instances.find(run, names=bases)
    ]
    return _readable(run, missing)


def pending_deploy(run):
    """
    What ``deploy`` has not done yet: every instance of the new release, and a completed
    configuration of all of them. Whether that succeeded, only Ansible's recap tells
    (``mitx_hosts.configured``); here counts that this run has run it to its end, and that no recap
    has told of a failure since.
    """
    number = images.release_number(run)
    missing = [f"there is no instance {name}" for name in fleets.new(run, number)["missing"]]
    lines = events.read(run)
    ended = [
        line["time"]
        for line in lines
        if line["event"] == "existing"
        and line["sls"] == "orchestrate.edx.deploy"
        and line["stage"] == "after"
    ]
    if not ended:
        missing.append("orchestrate.edx.deploy has not run to its end in this run")
    elif any(line["event"] == "unconfigured" and line["time"] > ended[-1] for line in lines):
        missing.append("Ansible has not configured every host")
    return _readable(run, missing, amis=True)


def pending_attach(run):
    """
    What ``elb`` has not done yet: every new web instance registered with the load balancers of its
    purpose.
    """
    if run.test and record.pinned(run, "new_fleet") is None:
        return ["the new fleet is not deployed yet"]
    described = elb.describe(run)
    fleet = fleets.recorded(run, "new")
    missing = []
    for balancer in run.settings["elbs"]:
        wanted = {
            i["id"]: i["name"]
            for i in fleet
            if i["role"] == "edx" and i["purpose"] == balancer["purpose"]
        }
        there = set((described.get(balancer["name"]) or {}).get("members") or ())
        missing += [
            f"{name} ({id_}) is not in {balancer['name']}"
            for id_, name in wanted.items()
            if id_ not in there
        ]
    return _readable(run, missing)


PENDING = {
    "orchestrate.edx.build_ami": pending_build,
    "orchestrate.edx.update_edxapp_ami_sdb": pending_record,
    "orchestrate.edx.deploy": pending_deploy,
    "orchestrate.aws.mitx_elb": pending_attach,
}


def _readable(run, missing, amis=False):
    """
    ``missing``, once it is certain that what the existing orchestration is about to read from SDB
    is this run's: with another codename, which is one key for every environment, or another number
    it would work on somebody else's instances.
    """
    if not missing or run.test:
        return missing
    wanted = {
        run.settings["sdb"]["codename"]: run.settings["codename"],
        run.settings["sdb"]["release"]: images.release_number(run),
    }
    if amis:
        wanted |= {
            run.settings["sdb"]["ami"][role]: id_
            for role, id_ in (record.pinned(run, "images") or {}).items()
        }
    wrong = [
        f"{key} is {found!r}, this run's is {value!r}"
        for key, value in wanted.items()
        if str(found := __salt__["sdb.get"](key)) != str(value)
    ]
    if wrong:
        raise CommandExecutionError(
            f"Somebody else has changed what the existing orchestrations read: {'; '.join(wrong)}."
            " Nothing was changed. Find out who, put it back (salt-run sdb.set), then run again:"
            f" {phases.next_command(run)}. In the phase attach, the new fleet can be registered"
            " without it: pillar='{mitx: {attach: {without_existing: True}}}'"
        )
    return missing


def _set_sdb(run, uri, value):
    with journal.gateway(run, "sdb", change=True, uri=uri, value=value):
        if not __salt__["sdb.set"](uri, value):
            raise CommandExecutionError(f"{uri} could not be set to {value}")
