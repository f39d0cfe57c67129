"""
The way from a state to its room
================================
"""

from salt.exceptions import CommandExecutionError

from mitx_run import context


def ensure(modules, state, name, arguments):
    """
    Call the function ``state`` of one of ``modules`` and return its answer, what Salt expects of a state. Settings that cannot be
    used fail it.
    """
    for module in modules:
        function = vars(module).get(state)
        if callable(function) and function.__module__ == module.__name__ and not state.startswith("_"):
            break
    else:
        raise CommandExecutionError(f"There is no state {state}")
    try:
        run = context.current()
    except CommandExecutionError as err:
        return {"name": name, "result": False, "changes": {}, "comment": str(err)}
    return function(run, name, **arguments)
