"""Bad settings must stop an engineer before anything changes, and name every problem at once."""

import pytest
from salt.exceptions import CommandExecutionError


@pytest.fixture
def get(mitx):
    return lambda **overrides: mitx(**overrides).settings


def test_names_are_those_of_salt_ops(get):
    settings = get()
    assert settings["codename"] == "koa"
    assert settings["draft_purpose"] == "next-residential-draft"
    assert [i["name"].format(release=1) for i in settings["instances"]] == [
        "edx-mitx-qa-next-residential-draft-0-v1",
        "edx-worker-mitx-qa-next-residential-draft-0-v1",
        "edx-mitx-qa-next-residential-live-0-v1",
        "edx-mitx-qa-next-residential-live-1-v1",
        "edx-worker-mitx-qa-next-residential-live-0-v1",
    ]
    assert settings["base_instances"] == {
        "edx": "edxapp-mitx-qa-koa-base",
        "edx-worker": "edx-worker-mitx-qa-koa-base",
    }
    assert (
        settings["amis"]["edx-worker"].format(release=7) == "edx_worker_mitx-qa_koa_base_release_7"
    )
    assert settings["sdb"]["release"] == "sdb://consul/edxapp-mitx-qa-koa-release-version"
    assert settings["release"]["branch"] == "mitx/koa"


def test_load_balancers_are_cut_to_32_characters_and_serve_each_domain_once(get):
    elbs = {elb["name"]: elb for elb in get()["elbs"]}
    assert set(elbs) == {
        "edx-next-residential-draft-mitx-qa"[:32].strip("-"),
        "edx-next-residential-live-mitx-qa"[:32].strip("-"),
        "edx-next-residential-studio-live-mitx-qa"[:32].strip("-"),
    }
    live = [elb for elb in elbs.values() if elb["purpose"] == "next-residential-live"]
    assert sorted(kind for elb in live for kind in elb["domains"]) == [
        "cms",
        "gitreload",
        "lms",
        "preview",
    ]


def test_the_page_takes_lms_studio_and_preview_but_not_gitreload(get):
    records = get()["records"]
    assert len(records) == 6
    assert not any("-gr" in record["name"] or record["kind"] == "gitreload" for record in records)


def test_production_is_built_from_qa(mitx):
    settings = mitx().modules["mitx_run.settings.get"]("mitx-production")
    assert len(settings["instances"]) == 30
    assert settings["source"]["sdb"]["ami"]["edx"] == "sdb://consul/edx_mitx-qa_koa_ami_id"


def test_every_problem_is_named_with_its_pillar_path_at_once(pillar, mitx):
    qa = pillar["mitx"]["environments"]["mitx-qa"]
    qa["windwo"] = {}
    qa["dns"] = {"zone_id": 7}
    del pillar["mitx"]["defaults"]["maintenance"]["distribution"]["id"]
    pillar["environments"]["mitx-qa"]["purposes"]["next-residential-live"]["instances"]["edx"][
        "number"
    ] = 0
    del pillar["environments"]["mitx-qa"]["purposes"]["next-residential-draft"]["domains"]["cms"]
    with pytest.raises(CommandExecutionError) as failure:
        mitx()
    message = str(failure.value)
    for part in (
        "mitx:environments:mitx-qa:windwo: unknown key; did you mean window?",
        "mitx:environments:mitx-qa:dns:zone_id: must be a text, is 7",
        "mitx:environments:mitx-qa:maintenance:distribution:id: missing",
        "environments:mitx-qa:purposes:next-residential-live:instances:edx:number",
        "environments:mitx-qa:purposes:next-residential-draft:domains:cms: missing",
    ):
        assert part in message


@pytest.mark.parametrize(
    "ref", ["--upload-pack=touch /tmp/x", "-f", "a..b", "a b", "koa;id", "/koa"]
)
def test_names_of_refs_that_could_be_options_are_refused(mitx, ref):
    with pytest.raises(
        CommandExecutionError, match="mitx:environments:mitx-qa:release:onto: no plain name"
    ):
        mitx(release={"onto": ref})


def test_a_purpose_of_another_shape_is_refused_when_named(mitx):
    with pytest.raises(
        CommandExecutionError, match="environments:mitx-qa:purposes:mitx-cas:domains: must be a map"
    ):
        mitx(purposes=["mitx-cas"])


def test_an_unknown_environment_lists_those_in_pillar(mitx):
    with pytest.raises(CommandExecutionError, match="mitx-production, mitx-qa"):
        mitx().modules["mitx_run.settings.get"]("mitx-qua")


def test_without_any_environment_the_command_says_how_to_name_one(pillar, mitx):
    del pillar["mitx"]["environment"]
    loaded = mitx(begin=False)
    with pytest.raises(CommandExecutionError, match="Which environment"):
        loaded.modules["mitx_run.folders.environment"]()


def test_the_variable_of_the_existing_orchestrations_is_understood(monkeypatch, pillar, mitx):
    del pillar["mitx"]["environment"]
    loaded = mitx(begin=False)
    monkeypatch.setenv("ENVIRONMENT", "mitx-production")
    assert loaded.modules["mitx_run.folders.environment"]() == "mitx-production"


def test_settings_of_mitx_can_come_from_the_file_that_the_existing_states_fetch(
    tmp_path, pillar, mitx
):
    import salt.utils.yaml

    source = tmp_path / "environment_settings.yml"
    source.write_text(salt.utils.yaml.safe_dump({"environments": pillar.pop("environments")}))
    pillar["mitx"]["environments_source"] = source.as_uri()
    loaded = mitx()
    before = loaded.settings["environments_digest"]
    source.write_text(source.read_text().replace("number: 2", "number: 3"))
    assert loaded.modules["mitx_run.settings.get"]()["environments_digest"] == before
    assert loaded.modules["mitx_run.settings.get"](fresh=True)["environments_digest"] != before


def paths(*entries):
    return {"checks": {"paths": list(entries)}}


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (
            paths("/login"),
            "checks:paths:0: must be a map of path, status, text, kinds, is '/login'",
        ),
        (paths({"url": "/login"}), "checks:paths:0:url: unknown key"),
        (paths({"url": "/login"}), "checks:paths:0:path: missing"),
        (
            paths({"path": "/login", "status": "200"}),
            "checks:paths:0:status: must be a whole number, is '200'",
        ),
        (paths({"path": "/login", "text": ["x"]}), "checks:paths:0:text: must be a text, is ['x']"),
        (paths({"path": "login"}), "checks:paths:0:path: must begin with /"),
        ({"checks": {"resolvers": [8.8]}}, "checks:resolvers:0: must be a text, is 8.8"),
        (
            {"services": {"systemd": {"edx": "gitreload"}}},
            "services:systemd:edx: must be a list, is 'gitreload'",
        ),
        ({"services": {"systemd": {"web": []}}}, "services:systemd:web: unknown role"),
        (
            {"migrate": {"pending": {"lms": None}}},
            "migrate:pending:lms: must be a command, is None",
        ),
        (
            {"migrate": {"commands": [{"name": 1, "command": "x"}]}},
            "migrate:commands:0:name: must be a text, is 1",
        ),
        (
            {"announce": {"smtp": {"host": "x", "username": "me"}}},
            "announce:smtp:username: unknown key",
        ),
        (
            {"announce": {"smtp": {"host": "x", "passwd": "y"}}},
            "announce:smtp:passwd: unknown key; did you mean password?",
        ),
        (
            {"announce": {"smtp": {"host": "x", "port": "fivehundred"}}},
            "announce:smtp:port: must be a whole number",
        ),
        ({"elb": {"polls": -1}}, "elb:polls: must be more than 0, is -1"),
        ({"drain": {"timeout": -5}}, "drain:timeout: must be 0 or more, is -5"),
        ({"drain": {"timeout": float("nan")}}, "drain:timeout: must be 0 or more, is nan"),
        (
            {"maintenance": {"distribution": {"domain_name": "https://d1.cloudfront.net/"}}},
            "domain_name: must be a host name",
        ),
        (
            {"maintenance": {"bucket": "s3://page"}},
            "maintenance:bucket: must be the name of a bucket, without s3://",
        ),
        ({"maintenance": {"key": "/index.html"}}, "maintenance:key: must be the key of an object"),
        (
            {"maintenance": {"distribution": {"id": "E1\n"}}},
            "maintenance:distribution:id: ends with the end of a line",
        ),
        ({"aws": {"account": 12345670123}}, "aws:account: must be a text, is 12345670123"),
        (
            {"aws": {"account": "12345670123"}},
            "aws:account: must be the 12 digits of an account, in quotes",
        ),
        ({"aws": {"key": "-----BEGIN PGP MESSAGE-----\nx"}}, "aws:key: is still encrypted"),
        ({"drain": {"waive": "no"}}, "drain:waive: must be true or false, is 'no'"),
    ],
)
def test_what_would_only_fail_in_the_night_is_refused_with_its_path(get, overrides, told):
    with pytest.raises(CommandExecutionError) as failure:
        get(**overrides)
    assert told in str(failure.value)
    assert "mitx:environments:mitx-qa:" in str(failure.value)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"untill": "close"}, "mitx:untill: unknown key; did you mean until?"),
        ({"adopt": "no"}, "mitx:adopt: must be true or false, is 'no'"),
        ({"retire_force": "n"}, "mitx:retire_force: must be true or false, is 'n'"),
        (
            {"rollback": {"database_restored": "not yet"}},
            "mitx:rollback:database_restored: must be true or false, is 'not yet'",
        ),
        ({"defaults": "x"}, "mitx:defaults: must be a map, is 'x'"),
        ({"environments": ["mitx-qa"]}, "mitx:environments: must be a map, is ['mitx-qa']"),
        ({"drain": {"timeout": -1}}, "mitx:drain:timeout: must be 0 or more, is -1"),
    ],
)
def test_what_is_said_for_one_command_is_checked_too(pillar, mitx, said, told):
    pillar["mitx"] |= said
    with pytest.raises(CommandExecutionError) as failure:
        mitx()
    assert told in str(failure.value)


def test_a_mistake_in_the_defaults_is_told_there(pillar, mitx):
    pillar["mitx"]["defaults"].setdefault("elb", {})["polls"] = -1
    with pytest.raises(
        CommandExecutionError, match="mitx:defaults:elb:polls: must be more than 0, is -1"
    ):
        mitx()


def test_a_pillar_of_another_shape_is_told(pillar, mitx):
    pillar["environments"]["mitx-qa"]["purposes"] = ["next-residential-live"]
    with pytest.raises(
        CommandExecutionError, match="environments:mitx-qa:purposes: must be a map of purposes"
    ):
        mitx()
    pillar["mitx"] = True
    with pytest.raises(CommandExecutionError, match="Pillar mitx: must be a map, is True"):
        mitx(begin=False).modules["mitx_run.get_settings"]()


def test_a_command_in_a_block_of_yaml_ends_with_the_end_of_a_line(get):
    assert get(drain={"command": "one |\n  two\n"})["drain"]["command"].endswith("two\n")


def test_a_wrong_type_hides_no_mistake_further_inside(get):
    with pytest.raises(CommandExecutionError) as told:
        get(dns={"ttl": "soon"}, checks={"paths": ["/login"]}, elb={"polls": -1})
    for path in ("dns:ttl", "checks:paths", "elb:polls"):
        assert f"mitx:environments:mitx-qa:{path}" in str(told.value)
