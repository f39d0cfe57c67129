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
    assert settings["base_instances"] == {"edx": "edxapp-mitx-qa-koa-base", "edx-worker": "edx-worker-mitx-qa-koa-base"}
    assert settings["amis"]["edx-worker"].format(release=7) == "edx_worker_mitx-qa_koa_base_release_7"
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
    assert sorted(kind for elb in live for kind in elb["domains"]) == ["cms", "gitreload", "lms", "preview"]


def test_the_page_takes_lms_studio_and_preview_but_not_gitreload(get):
    records = get()["records"]
    assert len(records) == 6
    assert not any("-gr" in record["name"] or record["kind"] == "gitreload" for record in records)


def test_production_is_built_from_qa(mitx):
    settings = mitx().modules["mitx_settings.get"]("mitx-production")
    assert len(settings["instances"]) == 30
    assert settings["source"]["sdb"]["ami"]["edx"] == "sdb://consul/edx_mitx-qa_koa_ami_id"


def test_every_problem_is_named_with_its_pillar_path_at_once(pillar, mitx):
    qa = pillar["mitx"]["environments"]["mitx-qa"]
    qa["windwo"] = {}
    qa["dns"] = {"zone_id": 7}
    del pillar["mitx"]["defaults"]["maintenance"]["distribution"]["id"]
    pillar["environments"]["mitx-qa"]["purposes"]["next-residential-live"]["instances"]["edx"]["number"] = 0
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


@pytest.mark.parametrize("ref", ["--upload-pack=touch /tmp/x", "-f", "a..b", "a b", "koa;id", "/koa"])
def test_names_of_refs_that_could_be_options_are_refused(mitx, ref):
    with pytest.raises(CommandExecutionError, match="mitx:environments:mitx-qa:release:onto: no plain name"):
        mitx(release={"onto": ref})


def test_a_purpose_of_another_shape_is_refused_when_named(mitx):
    with pytest.raises(CommandExecutionError, match="environments:mitx-qa:purposes:mitx-cas:domains: must be a map"):
        mitx(purposes=["mitx-cas"])


def test_an_unknown_environment_lists_those_in_pillar(mitx):
    with pytest.raises(CommandExecutionError, match="mitx-production, mitx-qa"):
        mitx().modules["mitx_settings.get"]("mitx-qua")


def test_without_any_environment_the_command_says_how_to_name_one(pillar, mitx):
    del pillar["mitx"]["environment"]
    loaded = mitx(begin=False)
    with pytest.raises(CommandExecutionError, match="Which environment"):
        loaded.modules["mitx_settings.environment"]()


def test_the_variable_of_the_existing_orchestrations_is_understood(monkeypatch, pillar, mitx):
    del pillar["mitx"]["environment"]
    loaded = mitx(begin=False)
    monkeypatch.setenv("ENVIRONMENT", "mitx-production")
    assert loaded.modules["mitx_settings.environment"]() == "mitx-production"


def test_settings_of_mitx_can_come_from_the_file_that_the_existing_states_fetch(tmp_path, pillar, mitx):
    import salt.utils.yaml

    source = tmp_path / "environment_settings.yml"
    source.write_text(salt.utils.yaml.safe_dump({"environments": pillar.pop("environments")}))
    pillar["mitx"]["environments_source"] = source.as_uri()
    loaded = mitx()
    before = loaded.settings["environments_digest"]
    source.write_text(source.read_text().replace("number: 2", "number: 3"))
    assert loaded.modules["mitx_settings.get"]()["environments_digest"] == before
    assert loaded.modules["mitx_settings.get"](fresh=True)["environments_digest"] != before
