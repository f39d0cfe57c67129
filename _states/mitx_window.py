"""
The announced window
====================

.. code-block:: yaml

    3down request:
      mitx_window.requested: []

    announced window:
      mitx_window.inside: []
"""

from salt.exceptions import CommandExecutionError


def __virtual__():
    if "mitx_window.times" not in __salt__:
        return False, "The mitx_window execution module is not loaded"
    return True


def requested(name, until=None):
    """
    Ensure that the window, or with ``until`` its overrun, is announced: the text for 3down is in the comment and in the
    run's folder, and is mailed to those of ``announce.to`` who have not had it. A window that has ended is refused.
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": ""}
    try:
        settings = __salt__["mitx_settings.get"]()
        warnings = __salt__["mitx_window.times"](settings["window"])["warnings"]
        if until is None:
            __salt__["mitx_window.upcoming"](settings)
        text = __salt__["mitx_window.request"](settings, until)
        to = __salt__["mitx_mail.unmailed"](settings, until)
        ret["changes"] = {"mailed": {"old": None, "new": to}} if to else {}
        ret["comment"] = "\n".join(["For 3down:", "", text, *warnings])
        if __opts__["test"]:
            ret["result"] = None if to else True
            return ret
        __salt__["mitx_run.capture"]("3down-overrun.txt" if until is not None else "3down-request.txt", text + "\n")
        __salt__["mitx_mail.announce"](settings, until)
    except CommandExecutionError as err:
        ret.update(result=False, changes={}, comment=str(err))
    return ret


def inside(name):
    """
    Require that it is now within the announced window, that ``window.force`` is set, or that this run has closed the site
    and visitors still see the page: then it goes on after the end. Changes nothing.
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": ""}
    try:
        closed = __salt__["mitx_phase.closed"]()
        if closed and any(record["shows"] == "maintenance" for record in __salt__["mitx_dns.records"]().values()):
            ret["comment"] = f"The site was closed at {closed}"
            return ret
        window = __salt__["mitx_window.require_inside"](__salt__["mitx_settings.get"]())
        ret["comment"] = (
            f"Announced from {window['start_text']} to {window['end_text']}" if window else "Forced, with no window announced"
        )
    except CommandExecutionError as err:
        # Planned days ahead, it stands in nobody's way yet.
        ret.update(result=None if __opts__["test"] else False, comment=str(err))
    return ret
