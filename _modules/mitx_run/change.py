"""
The way from a state to its room
================================
"""

from salt.exceptions import CommandExecutionError

from mitx_run import context


def ensure(modules, state, name, arguments):
    """
    Call the function ``state`` of one of ``modules`` and return its answer, what Salt expects of a
    state. Settings that cannot be used fail it.
    """
    for module in modules:
        function = vars(module).get(state)
        if (
            callable(function)
            and function.__module__ == module.__name__
            and not state.startswith("_")
        ):
            break
    else:
        raise CommandExecutionError(f"There is no state {state}")
    try:
        run = context.current()
    except CommandExecutionError as err:
        return {"name": name, "result": False, "changes": {}, "comment": str(err)}
    return function(run, name, **arguments)


def result(name):
    """
    Return the answer of a state that has nothing to do.
    """
    return {"name": name, "result": True, "changes": {}, "comment": ""}


def failed(ret, err):
    """
    Let a state fail with an error. What a dry run cannot know yet (``not_yet``) is no failure.
    """
    ret.update(
        result=None if getattr(err, "not_yet", False) else False, changes={}, comment=str(err)
    )


def would(ret, changes, comment):
    """
    Let a state tell, in a dry run, what it would change; returns it.
    """
    ret.update(changes=changes, result=None if changes else True)
    ret["comment"] = f"{comment}: {', '.join(changes)}" if changes else "Nothing to do"
    return ret
