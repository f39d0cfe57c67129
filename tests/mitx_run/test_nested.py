"""What a nested orchestration came to, of the data that Salt returns."""

import pytest

RAISED = (
    "Exception occurred in runner cloud.profile: Traceback (most recent call last):\n"
    '  File "cloud.py", line 110, in profile\n    info = client.profile(prof)\n'
    "salt.exceptions.SaltCloudConfigError: The provider 'mitx' is not configured\n"
)
NOBODY = {"result": False, "changes": {}, "comment": "No minions responded"}
HINT = "salt '*' saltutil.refresh_pillar"


@pytest.fixture
def failures(mitx):
    """``failures(**states)``: what is told of such states, lines."""

    def come_to(**states):
        loaded = mitx()
        data = {f"salt_|-{name}_|-{name}_|-function": state for name, state in states.items()}
        loaded.modules["saltutil.runner"] = lambda *_, **__: {
            "return": {"data": {"master": data}, "retcode": 1}
        }
        return loaded.modules["mitx_run.nested.orchestrate"]("orchestrate.edx.build_ami")[
            "failures"
        ]

    return come_to


def test_what_a_runner_raised_is_told_and_not_only_that_it_failed(failures):
    comment = "Runner function 'cloud.profile' failed."
    (line,) = failures(launch={"result": False, "comment": comment, "changes": {"return": RAISED}})
    assert line.startswith(f"salt.function (launch): {comment}")
    assert line.endswith("SaltCloudConfigError: The provider 'mitx' is not configured")
    assert "\n" not in line


HALF_READ = (
    "Exception occurred in runner cloud.map_run: Traceback (most recent call last):\n"
    '  File "cloud.py", line 161, in enter_mainloop\n    raise SaltCloudSystemExit(msg)\n'
    "salt.exceptions.SaltCloudSystemExit: Exception caught\n"
    "Traceback (most recent call last):\n"
    '  File "salt/utils/cloud.py", line 2727, in cachedir_index_add\n'
    "ValueError: Unpack failed: incomplete input\n\n\n"
)


def test_what_a_runner_raised_on_a_minion_is_told_and_what_is_known_of_it(failures):
    comment = "Running function saltutil.runner failed on minions: master-operations-qa"
    ret = {"master-operations-qa": {"return": HALF_READ, "retcode": 1, "success": False}}
    lines = failures(map={"result": False, "comment": comment, "changes": {"ret": ret}})
    (line,) = lines
    what, _, hint = line.partition(". Salt Cloud read its own index")
    assert what.endswith(f"{comment} ValueError: Unpack failed: incomplete input")
    assert "index.p" in hint
    # Of another file that is cut off it is not said.
    other = {"master": {"return": HALF_READ.replace("cachedir_index_add", "load")}}
    (line,) = failures(map={"result": False, "comment": comment, "changes": {"ret": other}})
    assert "index.p" not in line
    # That nobody is there has its reason then.
    map_ = {"result": False, "comment": comment, "changes": {"ret": ret}}
    assert not any(HINT in line for line in failures(sync=NOBODY, map=map_))


def test_nobody_found_by_grains_is_told_with_how_a_new_master_learns_them(failures):
    lines = failures(sync=NOBODY, restart=NOBODY)
    assert [HINT in line for line in lines] == [False, False, True]


def test_nobody_is_no_wonder_where_nothing_was_launched(failures):
    lines = failures(launch={"result": False, "comment": "refused", "changes": {}}, sync=NOBODY)
    assert not any(HINT in line for line in lines)


def test_what_an_inner_orchestration_has_told_is_not_told_again(failures):
    inner = "\n".join(failures(sync=NOBODY))
    lines = failures(build={"result": False, "comment": inner, "changes": {}})
    assert sum(line.count(HINT) for line in lines) == 1


@pytest.mark.parametrize("newline", ["\n", "\\n"], ids=["as it is", "as repr"])
def test_of_an_exception_on_a_minion_is_told_what_it_was_and_not_where(failures, newline):
    trace = newline.join(
        [
            "Traceback (most recent call last):",
            '  File "/x/salt/minion.py", line 1, in _thread_return',
            "    return_data = minion_instance.executors[fname](",
            "                  ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^",
            "KeyError: 'retcode'",
        ]
    )
    comment = f"Run failed on minions: edx-0: The minion function caused an exception: {trace}"
    (line,) = failures(configure={"result": False, "comment": comment, "changes": {}})
    assert line.endswith("edx-0: The minion function caused an exception: KeyError: 'retcode'")
