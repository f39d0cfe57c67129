#!py
"""
``orchestrate.aws.mitx_elb`` without its DNS change.

As it is, it rewrites the CNAME of every domain to the load balancers: in the window that would end the maintenance page before
anybody has looked at the site. Whatever it renders to, ``cnames`` is taken out of every ``boto_elb.present``; what does not look as
expected is refused, because a name that was overlooked would be visible to everybody.
"""

import json
import os

from salt.exceptions import CommandExecutionError

EXISTING = "salt://orchestrate/aws/mitx_elb.sls"


def run():
    settings = __salt__["mitx_run.get_settings"]()
    if os.environ.get("ENVIRONMENT") != settings["environment"]:
        raise CommandExecutionError(
            f"The variable ENVIRONMENT is {os.environ.get('ENVIRONMENT')!r}, not {settings['environment']}: start this through orchestrate.mitx.window"
        )
    rendered = _render()
    elsewhere = sorted({"include", "extend"} & set(rendered))
    if elsewhere:
        # What another file holds cannot be looked through here.
        raise CommandExecutionError(f"{EXISTING} has {' and '.join(elsewhere)} now, so that it may change DNS from another file: not run in the window")
    present = [state for state in rendered.values() if isinstance(state, dict) and "boto_elb.present" in state]
    stripped = sum(_strip(state) for state in present)
    if not stripped:
        raise CommandExecutionError(f"{EXISTING} has no cnames any more: look at how it changes DNS now, before it is used in the window")
    left = json.dumps(rendered, default=str)
    if "cnames" in left or "route53" in left:
        raise CommandExecutionError(f"{EXISTING} changes DNS in another way than by cnames of boto_elb.present: not run in the window")
    _require_ours(settings, present)
    return rendered


def _render():
    try:
        rendered = __salt__["slsutil.renderer"](EXISTING)
    except Exception as err:  # noqa: BLE001, whatever a foreign template raises
        raise CommandExecutionError(
            f"{EXISTING} cannot be rendered. Nothing was changed. With pillar='{{mitx: {{attach: {{without_existing: True}}}}}}' the new fleet is registered "
            f"without it. Why: {(str(err).strip().splitlines() or ['?'])[0]}"
        ) from err
    if not isinstance(rendered, dict) or not rendered:
        raise CommandExecutionError(
            f"{EXISTING} is missing, or renders to nothing. Nothing was changed. With pillar='{{mitx: {{attach: {{without_existing: True}}}}}}' the new "
            "fleet is registered without it."
        )
    return rendered


def _strip(state):
    arguments = [argument for argument in state["boto_elb.present"] if isinstance(argument, dict)]
    kept = [argument for argument in arguments if "cnames" not in argument]
    state["boto_elb.present"] = kept
    return len(arguments) - len(kept)


def _require_ours(settings, present):
    names = {value for state in present for argument in state["boto_elb.present"] for key, value in argument.items() if key == "name"}
    expected = {elb["name"] for elb in settings["elbs"]}
    if names != expected:
        raise CommandExecutionError(f"{EXISTING} is about the load balancers {sorted(names)}, the settings name {sorted(expected)}")
