"""
Whatever is typed or stands in pillar: it is understood, or refused in words. Nothing else, and no
traceback, at 3 a.m.
"""

import copy
import datetime
import html.parser
import json

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from salt.exceptions import CommandExecutionError

from mitx_run import journal

# One package for all examples of a test.
one_package = settings(
    deadline=None, max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
# Separators of lines that are none in JSON, bytes that no file is made of, what breaks HTML.
texts = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=40)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)


@pytest.fixture
def package(mitx):
    loaded = mitx()
    # What its modules see, to be changed in place: to load it anew takes half a second.
    loaded.pillar = loaded.modules.loader.pack["__pillar__"]
    return loaded


def test_a_change_of_the_pillar_is_seen(package, example_pillar):
    package.pillar["mitx"] = put(example_pillar["mitx"], ("run_dir",), 5)
    with pytest.raises(CommandExecutionError, match="run_dir"):
        package.modules["mitx_run.settings.get"]("mitx-qa", fresh=True)


def places(value, path=()):
    """Every place in a pillar at which something stands, as a tuple of keys."""
    found = [path] if path else []
    if isinstance(value, dict):
        for key, inner in value.items():
            found += places(inner, (*path, key))
    return found


def put(pillar, path, value):
    """The pillar with another value at this place."""
    mine = copy.deepcopy(pillar)
    here = mine
    for key in path[:-1]:
        here = here[key]
    here[path[-1]] = value
    return mine


@one_package
@given(data=st.data())
def test_any_value_anywhere_in_pillar_is_taken_or_refused_with_its_path(
    package, example_pillar, data
):
    """Of MITx's own settings too, which are not ours to check."""
    good = {"mitx": example_pillar["mitx"], "environments": example_pillar["environments"]}
    place = data.draw(st.sampled_from(places(good)))
    value = data.draw(values)
    package.pillar.update(put(good, place, value))
    told = "mitx"
    try:
        package.modules["mitx_run.settings.get"]("mitx-qa", fresh=True)
    except CommandExecutionError as err:
        told = str(err)
    assert "mitx" in told or "environments" in told


@one_package
@given(text=texts | st.integers() | st.from_regex(r"\+?\d{1,4}(:\d\d)?( ?[ap]m)?", fullmatch=True))
@example("24:00")
@example("+0")
@example("2099-12-20 25:00")
def test_any_end_is_a_time_after_the_start_or_refused(package, text):
    mine = package.modules.run.settings
    start = datetime.datetime.fromisoformat(mine["window"]["start_utc"].replace("Z", "+00:00"))
    try:
        found = package.modules["mitx_run.window.until"](mine, text)
    except CommandExecutionError:
        return
    assert datetime.datetime.fromisoformat(found["until"]) > start


@one_package
@given(fields=st.dictionaries(st.sampled_from("abc"), values, max_size=3), cut=st.integers(1, 400))
def test_what_is_written_is_read_again_and_a_torn_line_hides_no_other(package, fields, cut):
    write, read = package.modules["mitx_run.events.write"], package.modules["mitx_run.events.read"]
    write("unfenced", minions=[])
    [path] = package.run_dir.glob("*/testrun/journal.jsonl")
    before, kept = read(), path.stat().st_size
    line = write("pin", **fields)
    after = write("unfenced", minions=[])
    assert read()[len(before) :] == [json.loads(json.dumps(line)), after]
    whole = path.read_bytes()
    path.write_bytes(whole[: max(kept, len(whole) - cut)])
    assert read()[: len(before)] == before
    with path.open("ab") as journal_file:
        journal_file.write(f"\n{json.dumps(fields)}\n".encode())
    assert read()[: len(before)] == before
    again = write("fenced", minions=["x"])
    assert read()[-1] == again


class Elements(html.parser.HTMLParser):
    """The elements of a page, and the names of their attributes."""

    def __init__(self, page):
        super().__init__()
        self.found, self.attributes = [], set()
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.found.append(tag)
        self.attributes |= {name for name, _ in attrs}


@one_package
@given(note=texts, contact=texts)
@example(note="</p><script>alert(1)</script>", contact='" onmouseover="x')
@example(note="{{ name }}", contact="javascript:alert(1)")
def test_whatever_the_page_says_is_text(package, note, contact):
    mine = copy.deepcopy(package.settings)
    mine["maintenance"]["note"], mine["window"]["contact"] = note, contact
    page = package.modules["mitx_site.page.render"](mine)
    seen = Elements(page)
    plain = Elements(package.modules["mitx_site.page.render"](package.settings))
    ours = ("a", "bdi", "p")
    assert [name for name in seen.found if name not in ours] == [
        name for name in plain.found if name not in ours
    ]
    assert seen.attributes <= plain.attributes | {"href"}
    assert "javascript:" not in page.split("<dt>Questions</dt>")[1].split(">")[1]


@settings(deadline=None)
@given(secret=st.text(alphabet="abcdefgh0123456789", min_size=8, max_size=20), rest=values)
@pytest.mark.parametrize("name", ["password", "api_key", "token", "secret_access_key"])
def test_no_secret_below_a_secrets_name_is_written(name, secret, rest):
    written = json.dumps(journal.redact({"x": [{name: {"a": [secret, rest]}}]}))
    assert secret not in written
