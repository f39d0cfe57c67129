"""
The way from a state to its room
================================

A state of a room reads, makes a plan, and then either tells it (``test=True``) or applies it.
"""

import contextlib
import functools

from salt.exceptions import CommandExecutionError

from mitx_run import calls, context, errors, nested


def ensure(modules, state, name, arguments):
    """
    Call the function ``state`` of one of ``modules`` and return its answer, what Salt expects of a
    state. Settings that cannot be used fail it.
    """
    for module in modules:
        function = vars(module).get(state)
        if getattr(function, "is_state", False) and function.__module__ == module.__name__:
            break
    else:
        raise CommandExecutionError(f"There is no state {state}")
    try:
        run = context.current()
    except CommandExecutionError as err:
        return {**result(name), "result": False, "comment": str(err)}
    answer = function(run, name, **arguments)
    if answer["result"] is False:
        nested.tell_without_master(answer["comment"])
    return answer


def state(function):
    """
    Make a state of ``function(run, ret, …)``, which fills ``ret``: ``changes`` with what it has
    really changed, as soon as it has. An error fails the state, and what was changed before it
    stays told. What a dry run cannot know yet is no failure.
    """

    @functools.wraps(function)
    def ensured(run, name, **arguments):
        ret = result(name)
        try:
            function(run, ret, **arguments)
        except errors.NotPlannable as err:
            unknown(ret, str(err))
        except CommandExecutionError as err:
            ret.update(result=False, comment=str(err))
        return ret

    ensured.is_state = True
    return ensured


def result(name):
    """
    Return the answer of a state that has nothing to do.
    """
    return {"name": name, "result": True, "changes": {}, "comment": ""}


def tell(ret, changes, comment, planned=()):
    """
    Let a state tell, in a dry run, what it would change and by which ``planned`` calls.
    """
    ret.update(changes=changes, result=None if changes else True)
    ret["comment"] = "\n".join([comment, *calls.tell(planned)])


def would(ret, changes, comment):
    """
    Let a state tell, in a dry run, what it would change: the names of it, after ``comment``.
    """
    tell(ret, changes, f"{comment}: {', '.join(changes)}" if changes else "Nothing to do")


def unknown(ret, comment):
    """
    Let a state say, in a dry run, why what it would do is not known yet.
    """
    ret.update(result=None, comment=comment)


@contextlib.contextmanager
def advice(text):
    """
    Add ``text``, what an operator can do about it, to the error of the block.
    """
    try:
        yield
    except errors.NotPlannable:
        raise
    except CommandExecutionError as err:
        raise CommandExecutionError(f"{err}\n{text}") from err
