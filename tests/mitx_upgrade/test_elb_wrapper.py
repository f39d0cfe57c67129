"""
The wrapper of ``orchestrate.aws.mitx_elb``, rendered by Salt as an orchestration renders it. One
host name that slips through shows everybody a site that nobody has looked at yet; a requisite that
gets lost registers with a load balancer that is not there.
"""

import pathlib

import pytest
import salt.state

ROOT = pathlib.Path(__file__).resolve().parents[2]
WRAPPER = "orchestrate.mitx.existing.mitx_elb"
DRAFT, LIVE, STUDIO = (
    "edx-next-residential-draft-mitx",
    "edx-next-residential-live-mitx-q",
    "edx-next-residential-studio-live",
)
# As the real one looks: `cnames` in the midst of the others, and read from the environment when it
# is rendered.
BALANCER = """
create_{name}:
  boto_elb.present:
    - name: {name}
    - listeners: [{{elb_port: 443, instance_port: 443, elb_protocol: HTTPS}}]
    - cnames:
      - {{name: {name}.mitx.mit.edu., zone: mitx.mit.edu., ttl: 60}}
    - tags: {{environment: {{{{ salt.environ.get('ENVIRONMENT') }}}}}}
register_{name}:
  boto_elb.register_instances:
    - name: {name}
    - instances: [i-1]
    - require:
      - boto_elb: create_{name}
"""
EXISTING = "".join(BALANCER.format(name=name) for name in (DRAFT, LIVE, STUDIO))


@pytest.fixture
def render(mitx, tmp_path, monkeypatch):
    """
    ``render(existing, environment)``: what Salt makes of the wrapper of ``existing``: ``(states,
    what it was refused with)``.
    """

    def rendered(existing, environment="mitx-qa"):
        if environment:
            monkeypatch.setenv("ENVIRONMENT", environment)
        aws = tmp_path / "tree" / "orchestrate" / "aws"
        aws.mkdir(parents=True)
        (aws.parent / "mitx").symlink_to(ROOT / "orchestrate" / "mitx")
        if existing is not None:
            (aws / "mitx_elb.sls").write_text(existing)
        opts = mitx().opts | {"file_roots": {"base": [str(tmp_path / "tree")]}}
        with salt.state.HighState(opts, initial_pillar=opts["pillar"]) as compiler:
            states, errors = compiler.render_highstate({"base": [WRAPPER]})
            # Without the traceback: the source lines in it would say what nobody has raised.
            return (
                states,
                "\n".join(errors + compiler.state.verify_high(states)).rpartition(
                    "CommandExecutionError: "
                )[2],
            )

    return rendered


def arguments(state, function):
    """The arguments of a state that has exactly this function."""
    [(module, found)] = [(key, value) for key, value in state.items() if not key.startswith("__")]
    given = {
        key: value
        for one in found
        if isinstance(one, dict)
        for key, value in one.items()
        if key != "order"
    }
    assert f"{module}.{next(one for one in found if isinstance(one, str))}" == function
    return given


def test_no_load_balancer_takes_its_host_names_along_not_even_studios(render):
    states, refusal = render(EXISTING)
    assert not refusal
    for name in (DRAFT, LIVE, STUDIO):
        present = arguments(states[f"create_{name}"], "boto_elb.present")
        assert sorted(present) == ["listeners", "name", "tags"]
        assert present["tags"] == {"environment": "mitx-qa"}
    assert "cnames" not in str(states)


def test_instances_are_still_registered_and_only_after_their_load_balancer_is_there(render):
    states, _ = render(EXISTING)
    assert len(states) == 6
    for name in (DRAFT, LIVE, STUDIO):
        register = arguments(states[f"register_{name}"], "boto_elb.register_instances")
        assert register == {
            "name": name,
            "instances": ["i-1"],
            "require": [{"boto_elb": f"create_{name}"}],
        }


@pytest.mark.parametrize("environment", [None, "mitx-production"])
def test_started_by_hand_it_does_not_work_on_whatever_environment_the_shell_names(
    render, environment
):
    states, refusal = render(EXISTING, environment)
    assert not states
    assert refusal.startswith(
        f"The variable ENVIRONMENT is {environment!r}, not mitx-qa: start this through"
        " orchestrate.mitx.window"
    )


@pytest.mark.parametrize(
    ("existing", "said"),
    [
        (
            EXISTING.replace("cnames:", "names:"),
            "has no cnames any more: look at how it changes DNS now",
        ),
        ("ok:\n  test.nop: []\n", "has no cnames any more"),
        (
            EXISTING + "dns:\n  boto_route53.present:\n    - name: lms.mitx.mit.edu.\n",
            "changes DNS in another way than by cnames",
        ),
        (
            EXISTING + "dns:\n  boto3_elb.present:\n    - cnames: [lms.mitx.mit.edu.]\n",
            "changes DNS in another way than by cnames",
        ),
        # Salt's other way to write a state: the function is the first of the arguments.
        (
            EXISTING.replace("boto_elb.present:\n", "boto_elb:\n    - present\n", 1),
            "changes DNS in another way than by cnames",
        ),
    ],
)
def test_a_change_of_dns_that_we_do_not_know_does_not_reach_visitors(render, existing, said):
    states, refusal = render(existing)
    assert not states
    assert refusal.startswith(f"salt://orchestrate/aws/mitx_elb.sls {said}")


@pytest.mark.parametrize(
    ("existing", "found"),
    [
        (
            EXISTING.replace(STUDIO, "edx-next-residential-studio"),
            [DRAFT, LIVE, "edx-next-residential-studio"],
        ),
        (EXISTING.replace(BALANCER.format(name=STUDIO), ""), [DRAFT, LIVE]),
        (
            EXISTING + BALANCER.format(name="edx-current-residential-live"),
            ["edx-current-residential-live", DRAFT, LIVE, STUDIO],
        ),
    ],
)
def test_load_balancers_that_are_not_those_of_the_settings_are_not_touched(render, existing, found):
    states, refusal = render(existing)
    assert not states
    assert (
        f"is about the load balancers {found}, the settings name {[DRAFT, LIVE, STUDIO]}" in refusal
    )


@pytest.mark.parametrize(
    ("existing", "said"),
    [
        # Its settings server is down.
        (
            "{{ salt.cp.get_url('http://127.0.0.1:9/settings.yml', dest=None)|load_yaml }}",
            "Connection refused reading /settings.yml",
        ),
        ("{{ 1 / 0 }}", "division by zero"),
        ("a: [\n", "while parsing a flow node"),
    ],
)
def test_when_it_cannot_be_rendered_the_engineer_is_told_how_to_go_on_without_it(
    render, existing, said
):
    states, refusal = render(existing)
    assert not states
    assert refusal.startswith("salt://orchestrate/aws/mitx_elb.sls cannot be rendered. ")
    assert said in refusal
    assert (
        "Nothing was changed. With pillar='{mitx: {attach: {without_existing: True}}}' the new"
        " fleet is registered without it." in refusal
    )


@pytest.mark.parametrize(
    "existing", ["", "{% if False %}\nnever: {}\n{% endif %}\n", "- a\n- list\n"]
)
def test_when_nothing_would_be_registered_it_is_no_success(render, existing):
    states, refusal = render(existing)
    assert not states
    assert refusal.startswith(
        "salt://orchestrate/aws/mitx_elb.sls is missing, or renders to nothing"
    )


def test_a_salt_ops_without_that_file_is_no_success(render):
    states, refusal = render(None)
    assert not states
    assert refusal.startswith("salt://orchestrate/aws/mitx_elb.sls ")


@pytest.mark.parametrize(
    "key",
    ["include:\n  - elsewhere\n", "extend:\n  elsewhere:\n    boto_elb:\n      - cnames: []\n"],
)
def test_what_another_file_would_bring_along_is_not_run_unseen(render, key):
    states, refusal = render(
        key + "nodes:\n  boto_elb.present:\n    - name: edx\n    - cnames: []\n"
    )
    assert not states
    assert "may change DNS from another file" in refusal
