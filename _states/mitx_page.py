"""
The maintenance page is published
=================================

.. code-block:: yaml

    maintenance page:
      mitx_page.published: []
"""

from salt.exceptions import CommandExecutionError


def __virtual__():
    if "mitx_page.publish" not in __salt__:
        return False, "The mitx_page execution module is not loaded"
    return True


def published(name, until=None, unannounced=False):
    """
    Ensure that the bucket holds the page for the announced window. A slow invalidation is told, and is no failure.

    until
        It takes longer than announced: until ``02:30``, ``2026-12-21 02:30``, ``+90m``. Kept for this window until
        another one is said.
    unannounced
        The page of a maintenance that has nothing to do with the announced window.
    """
    ret = {"name": name, "result": True, "changes": {}, "comment": ""}
    try:
        settings = __salt__["mitx_settings.get"]()
        if __opts__["test"]:
            planned = __salt__["mitx_page.plan"](settings, until, unannounced)
            ret["changes"] = planned["changes"]
            ret["result"] = None if planned["changed"] else True
            calls = [["mitx_page.write", settings, planned]] if planned["changed"] else []
            would = [f"Would call: {call}" for call in __salt__["mitx_journal.rehearse"](calls)]
            ret["comment"] = "\n".join([_sentence(settings, planned["changed"], "would be"), *would])
            return ret
        done = __salt__["mitx_page.publish"](settings, until, unannounced)
        ret["changes"] = done["changes"]
        ret["comment"] = " ".join([_sentence(settings, done["changed"], "was"), *_previous(done), *done["notes"]])
    except CommandExecutionError as err:
        ret.update(result=False, changes={}, comment=str(err))
    return ret


def _sentence(settings, changed, verb):
    where = f"s3://{settings['maintenance']['bucket']}/{settings['maintenance']['key']}"
    return f"The page {verb} published at {where}." if changed else f"The page at {where} is as it should be."


def _previous(done):
    return [f"The one before is kept in {done['previous']}."] if done["previous"] else []
