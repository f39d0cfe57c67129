"""
Migrations of a real Django on a real MariaDB, through a real minion: what the sandbox's own
database cannot show. There a change of the schema is not undone when its migration is killed.
"""

import os
import shutil
import signal
import subprocess
import sys
import textwrap
import threading

import pytest
from salt.exceptions import CommandExecutionError

from tests.support.lab import PURPOSE, WEB, wait

PATH = f"{os.environ['PATH']}:/usr/sbin"
SERVER, INSTALL = (shutil.which(name, path=PATH) for name in ("mariadbd", "mariadb-install-db"))
pytestmark = pytest.mark.skipif(not SERVER, reason="no MariaDB here (Debian: mariadb-server)")
# As in pillar_examples/mitx.sls, with the Python of this test.
MANAGE = f"{sys.executable} manage.py"
PENDING = {
    "lms": f"{MANAGE} lms showmigrations --plan",
    "cms": "true",
    "student_module_history": f"{MANAGE} lms showmigrations --plan --database history",
}
APPLY = f"{MANAGE} lms migrate --noinput --fake-initial"
COMMANDS = [
    {"name": "lms", "command": APPLY},
    {"name": "student_module_history", "command": f"{APPLY} --database history"},
]
SETTINGS = """
import pymysql
pymysql.version_info = (2, 2, 1, "final", 0)
pymysql.install_as_MySQLdb()
SECRET_KEY = "x"
INSTALLED_APPS = ["courseware"]
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
def _database(name):
    return {{"ENGINE": "django.db.backends.mysql", "NAME": name, "USER": "root",
             "OPTIONS": {{"unix_socket": "{socket}"}}}}
DATABASES = {{"default": _database("edxapp"), "history": _database("edxapp_csmh")}}
"""
# As edX's: the first word says for which service.
MANAGER = """
import os, sys
assert sys.argv.pop(1) == "lms"
os.environ["DJANGO_SETTINGS_MODULE"] = "settings"
from django.core.management import execute_from_command_line
execute_from_command_line(sys.argv)
"""
FIRST = """
from django.db import migrations, models
class Migration(migrations.Migration):
    initial = True
    dependencies = []
    operations = [migrations.CreateModel("Module", [
        ("id", models.AutoField(primary_key=True)), ("grade", models.IntegerField(null=True))])]
"""
# Between its two changes it waits for a file: there it is killed.
SECOND = """
import os, pathlib, time
from django.db import migrations, models
def wait(apps, editor):
    pathlib.Path("{home}/begun-" + editor.connection.alias).write_text(str(os.getpid()))
    while not pathlib.Path("{home}/go-on").exists():
        time.sleep(0.05)
class Migration(migrations.Migration):
    dependencies = [("courseware", "0001_initial")]
    operations = [
        migrations.AddField("module", "max_grade", models.IntegerField(null=True)),
        migrations.RunPython(wait),
        migrations.AddField("module", "done", models.IntegerField(null=True)),
    ]
"""


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    """The socket of a MariaDB of its own, with no network."""
    folder = tmp_path_factory.mktemp("mariadb")
    socket = folder / "s"
    me = ["--user=root"] if os.geteuid() == 0 else []
    options = ["--no-defaults", f"--datadir={folder}/data", *me]
    subprocess.run(
        [INSTALL, *options, "--auth-root-authentication-method=normal", "--skip-test-db"],
        check=True,
        capture_output=True,
    )
    server = subprocess.Popen(
        [SERVER, *options, "--skip-networking", f"--socket={socket}", f"--pid-file={folder}/pid"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait(lambda: server.poll() is None and socket.exists(), what="MariaDB listens")
        yield socket
    finally:
        server.terminate()
        server.wait(60)


@pytest.fixture
def sql(database):
    """``sql(statement, database)``: its rows."""
    import pymysql

    def ask(statement, name=None):
        connection = pymysql.connect(unix_socket=str(database), user="root", database=name)
        with connection, connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall()

    for name in ("edxapp", "edxapp_csmh"):
        ask(f"DROP DATABASE IF EXISTS {name}")
        ask(f"CREATE DATABASE {name}")
    return ask


@pytest.fixture
def django(database, sql, lab, salt):
    """
    ``django(pending)``: the package, with a Django of this database as the platform of the web
    host.
    """
    for host in lab.hosts.values():
        host.supervise()
    home = lab.hosts[WEB].home
    for left in (".mitx-upgrade", "edx-platform", "go-on", "begun-default", "begun-history"):
        subprocess.run(["rm", "-rf", home / left], check=True)
    platform = home / "edx-platform"
    (platform / "courseware" / "migrations").mkdir(parents=True)
    files = {
        "manage.py": MANAGER,
        "settings.py": SETTINGS.format(socket=database),
        "courseware/__init__.py": "",
        "courseware/migrations/__init__.py": "",
        "courseware/migrations/0001_initial.py": FIRST,
        "courseware/migrations/0002_grades.py": SECOND.format(home=home),
    }
    for name, text in files.items():
        (platform / name).write_text(textwrap.dedent(text))

    def load(pending=PENDING):
        return salt(migrate={"pending": pending, "commands": COMMANDS, "timeout": 60})

    load.home = home
    return load


def migrate(package, lab):
    return package.modules["mitx_hosts.migrations.migrate"]([], lab.instances())


def columns(sql, name):
    return {row[0] for row in sql("SHOW COLUMNS FROM courseware_module", name)}


def test_a_real_django_is_migrated_in_both_databases(django, lab, sql):
    loaded = django()
    (django.home / "go-on").touch()
    both = ["courseware.0001_initial", "courseware.0002_grades"]
    assert migrate(loaded, lab) == {
        PURPOSE: {"lms": both, "cms": [], "student_module_history": both}
    }
    for name in ("edxapp", "edxapp_csmh"):
        assert columns(sql, name) == {"id", "grade", "max_grade", "done"}
    assert migrate(loaded, lab) == {PURPOSE: {"lms": [], "cms": [], "student_module_history": []}}
    waits = loaded.modules["mitx_run.events.read"]("wait", waits_for="migration")
    assert any(one["what"].startswith("migrate student_module_history of") for one in waits)


def test_one_killed_in_the_middle_is_called_half_applied_and_can_be_finished_by_hand(
    django, lab, sql
):
    loaded = django()
    begun = django.home / "begun-default"

    def kill():
        wait(lambda: begun.exists() and begun.read_text(), what="the migration is in its middle")
        os.kill(int(begun.read_text()), signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    with pytest.raises(CommandExecutionError, match=r"exit status 137 \(it was killed\)"):
        migrate(loaded, lab)
    killer.join()
    # MariaDB keeps what it had changed, and Django has not written it down.
    assert columns(sql, "edxapp") == {"id", "grade", "max_grade"}
    (django.home / "go-on").touch()
    with pytest.raises(CommandExecutionError) as told:
        migrate(loaded, lab)
    assert "courseware.0002_grades was begun before and ended in the middle" in str(told.value)
    assert "Duplicate column name" in str(told.value)
    assert "migrate --fake courseware 0002_grades" in str(told.value)
    # As the message says: what is missing by hand, then --fake that one.
    sql("ALTER TABLE courseware_module ADD done int NULL", "edxapp")
    subprocess.run(
        [sys.executable, "manage.py", "lms", "migrate", "--fake", "courseware", "0002_grades"],
        cwd=django.home / "edx-platform",
        check=True,
        capture_output=True,
    )
    assert migrate(loaded, lab)[PURPOSE]["lms"] == []
    for name in ("edxapp", "edxapp_csmh"):
        assert columns(sql, name) == {"id", "grade", "max_grade", "done"}


def test_what_django_prints_of_a_plan_is_no_list_and_nothing_is_run(django, lab, sql):
    loaded = django({**PENDING, "lms": f"{MANAGE} lms migrate --plan"})
    with pytest.raises(CommandExecutionError, match="Planned operations"):
        migrate(loaded, lab)
    assert sql("SHOW TABLES", "edxapp") == ()
