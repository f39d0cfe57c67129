"""
The announcement by mail, against a real SMTP server: delivered once, encrypted, and the password
seen by nobody.
"""

import email
import email.policy
import importlib
import logging
import ssl

import icalendar
import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult
from salt.exceptions import CommandExecutionError

from sandbox.public import tls

PASSWORD = "correct-horse-battery"


class Inbox:
    """Keeps what arrives; refuses the addresses in ``refuse``."""

    def __init__(self):
        self.mails, self.refuse = [], set()

    async def handle_RCPT(self, server, session, envelope, address, rcpt_options):  # noqa: N802 aiosmtpd's name
        if address in self.refuse:
            return "550 5.1.1 no such mailbox"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):  # noqa: N802
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        self.mails.append((sorted(envelope.rcpt_tos), message, session.ssl is not None))
        return "250 OK"


def authenticate(server, session, envelope, mechanism, auth_data):
    if auth_data.password == PASSWORD.encode():
        return AuthResult(success=True)
    # A server that repeats what it was sent: exactly what must not get into an error or a journal.
    return AuthResult(
        success=False, handled=False, message=f"535 5.7.8 {auth_data.password.decode()} is wrong"
    )


class Server(Controller):
    """SMTP on a free port: with STARTTLS and login, or with neither."""

    def __init__(self, inbox, context=None, **options):
        self.context, self.smtp_options = context, options
        super().__init__(inbox, hostname="127.0.0.1", port=0)

    def factory(self):
        options = (
            {"tls_context": self.context, "authenticator": authenticate} if self.context else {}
        )
        return SMTP(self.handler, hostname="localhost", **options, **self.smtp_options)

    def _trigger_server(self):
        # aiosmtpd looks at its own port to see that it runs; with port 0 that is only known now.
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()


@pytest.fixture
def pki(tmp_path):
    return tls.make(tmp_path)


@pytest.fixture
def inbox():
    return Inbox()


@pytest.fixture
def serve(inbox, pki):
    started = []

    def start(encrypted=True, **options):
        context = None
        if encrypted:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(pki["certificate"], pki["key"])
        server = Server(inbox, context, **options)
        server.start()
        started.append(server)
        return server.port

    yield start
    for server in started:
        server.stop()


@pytest.fixture
def announce(mitx, pki):
    """``announce(port, to=…, **smtp)``: the loaded package, which mails there."""

    def load(port, to=("3down@example.edu",), test=False, **smtp):
        found = {
            "host": "localhost",
            "port": port,
            "user": "mitx",
            "password": PASSWORD,
            "ca_bundle": pki["ca"],
            **smtp,
        }
        wanted = {"smtp": found, "sender": "devops@example.edu", "to": list(to)}
        return mitx(test=test, announce=wanted)

    return load


def requested(mitx, **kwargs):
    return mitx.states["mitx_site.announced"]("3down request", **kwargs)


def test_the_request_arrives_encrypted_and_logged_in(serve, inbox, announce):
    mitx = announce(serve(auth_required=True, auth_require_tls=True))
    ret = requested(mitx)

    assert ret["result"] is True, ret
    [(to, mail, encrypted)] = inbox.mails
    assert to == ["3down@example.edu"]
    assert encrypted
    assert "lms-next-qa.mitx.mit.edu" in mail.get_body().get_content()
    assert "will be unavailable" in mail.get_body().get_content()
    assert (
        mail["Subject"]
        == "Residential MITx: scheduled downtime, 9:00 PM EST on Sunday, December 20, 2099"
    )
    assert mail["Auto-Submitted"] == "auto-generated"


def test_the_window_comes_as_an_entry_of_a_calendar_and_an_overrun_moves_its_end(
    serve, inbox, announce
):
    port = serve()
    requested(announce(port))
    requested(announce(port), until="02:30")
    entries = []
    for _, mail, _ in inbox.mails:
        [part] = list(mail.iter_attachments())
        assert (part.get_content_type(), part.get_filename()) == (
            "text/calendar",
            "maintenance.ics",
        )
        [event] = icalendar.Calendar.from_ical(part.get_content()).walk("VEVENT")
        entries.append(event)
    first, second = entries
    assert first["uid"] == second["uid"]
    assert second["sequence"] > first["sequence"]
    assert f"{first['dtstart'].dt:%Y-%m-%d %H:%M %Z}" == "2099-12-21 02:00 UTC"
    assert second["dtstart"].dt == first["dtstart"].dt
    assert f"{second['dtend'].dt:%Y-%m-%d %H:%M %Z}" == "2099-12-21 07:30 UTC"
    assert "will be unavailable" in first["description"]


def test_without_the_library_the_mail_goes_without_the_entry(serve, inbox, announce, monkeypatch):
    mitx = announce(serve())
    monkeypatch.setattr(importlib.import_module("mitx_site.ics"), "icalendar", None)
    requested(mitx)
    assert list(inbox.mails[0][1].iter_attachments()) == []


def test_the_same_announcement_is_mailed_once(serve, inbox, announce):
    port = serve()
    assert requested(announce(port))["changes"] == {
        "mailed": {"old": None, "new": ["3down@example.edu"]}
    }
    assert requested(announce(port))["changes"] == {}
    assert len(inbox.mails) == 1


def test_an_overrun_is_another_mail(serve, inbox, announce):
    port = serve()
    requested(announce(port))
    assert requested(announce(port), until="02:30")["result"] is True
    assert requested(announce(port), until="02:30")["changes"] == {}
    assert len(inbox.mails) == 2
    assert "maintenance takes longer" in inbox.mails[1][1]["Subject"]


def test_a_dry_run_mails_nothing_and_names_who_would_get_it(serve, inbox, announce):
    ret = requested(announce(serve(), test=True))
    assert ret["result"] is None
    assert ret["changes"]["mailed"]["new"] == ["3down@example.edu"]
    assert inbox.mails == []


def test_a_wrong_password_is_told_and_shown_nowhere(serve, inbox, announce, caplog):
    caplog.set_level(logging.DEBUG)
    wrong = "Tr0ub4dor&3"
    mitx = announce(serve(), password=wrong)
    ret = requested(mitx)

    assert ret["result"] is False
    assert "535" in ret["comment"]
    assert inbox.mails == []
    journal = (mitx.run_dir / "mitx-qa" / "testrun" / "journal.jsonl").read_text()
    assert '"stage": "failed"' in journal
    for text in (ret["comment"], journal):
        assert wrong not in text
    assert wrong not in "\n".join(
        record.getMessage()
        for record in caplog.records
        if record.name.startswith(("salt", "mitx", "smtp"))
    )


def test_the_password_is_in_no_journal_of_a_mail_that_was_sent(serve, announce):
    mitx = announce(serve())
    assert requested(mitx)["result"] is True
    written = "".join(path.read_text() for path in mitx.run_dir.rglob("*") if path.is_file())
    assert "3down@example.edu" in written
    assert PASSWORD not in written


def test_a_server_without_starttls_gets_no_password(serve, inbox, announce):
    ret = requested(announce(serve(encrypted=False)))
    assert ret["result"] is False
    assert "STARTTLS" in ret["comment"]
    assert inbox.mails == []


def test_a_certificate_of_somebody_else_is_not_believed(serve, inbox, announce):
    ret = requested(announce(serve(), ca_bundle=None))
    assert ret["result"] is False
    assert "certificate verify failed" in ret["comment"]
    assert inbox.mails == []


def test_a_login_in_clear_text_is_refused_before_anything_is_sent(serve, inbox, announce):
    ret = requested(announce(serve(encrypted=False), tls="none"))
    assert ret["result"] is False
    assert "clear text" in ret["comment"]


def test_no_login_and_no_encryption_works_for_a_relay_on_the_same_host(serve, inbox, announce):
    ret = requested(announce(serve(encrypted=False), tls=False, user=None, password=None))
    assert ret["result"] is True, ret
    assert len(inbox.mails) == 1


def test_who_is_refused_is_named_and_the_others_are_not_mailed_again(serve, inbox, announce):
    inbox.refuse.add("gone@example.edu")
    port, to = serve(), ("3down@example.edu", "gone@example.edu")
    ret = requested(announce(port, to))
    assert ret["result"] is False
    assert "gone@example.edu" in ret["comment"]
    assert "no such mailbox" in ret["comment"]

    inbox.refuse.clear()
    assert requested(announce(port, to))["result"] is True
    assert [mail[0] for mail in inbox.mails] == [["3down@example.edu"], ["gone@example.edu"]]


def test_nobody_accepted_is_a_failure(serve, inbox, announce):
    inbox.refuse.add("3down@example.edu")
    ret = requested(announce(serve()))
    assert ret["result"] is False
    assert "no such mailbox" in ret["comment"]


def test_no_server_there_is_told_with_the_way_to_go_on(announce):
    ret = requested(announce(1))
    assert ret["result"] is False
    assert "No mail was sent through localhost" in ret["comment"]
    assert "salt-run mitx.announce test=True" in ret["comment"]


def test_without_a_mail_server_the_text_is_the_result(mitx):
    loaded = mitx()
    ret = requested(loaded)
    assert (ret["result"], ret["changes"]) == (True, {})
    assert "For 3down:" in ret["comment"]
    kept = (loaded.run_dir / "mitx-qa" / "testrun" / "output" / "3down-request.txt").read_text()
    assert kept.strip() in ret["comment"]


def test_a_past_window_is_not_announced(mitx):
    ret = requested(mitx(window={"start": "2020-12-20 21:00"}))
    assert ret["result"] is False
    assert "past" in ret["comment"]


@pytest.mark.parametrize(
    ("announce", "said"),
    [
        ({"smtp": {"host": "x", "tls": "maybe"}}, "tls: must be"),
        ({"smtp": {"host": "x", "user": "me"}}, "user and password go together"),
        ({"smtp": {"port": 25}}, "host: missing"),
        ({"smtp": {"host": "x"}, "sender": "me"}, "sender: must be one address"),
        ({"smtp": {"host": "x"}, "to": []}, "names nobody"),
        ({"smtp": {"host": "x"}, "to": ["a@b.edu, c@d.edu"]}, "no address"),
    ],
)
def test_bad_mail_settings_are_named_together(mitx, announce, said):
    modules = mitx().modules
    wanted = {"smtp": {}, "sender": "a@b.edu", "to": ["c@d.edu"], **announce}
    assert said in "; ".join(modules["mitx_site.mail.problems"](wanted))
    with pytest.raises(CommandExecutionError, match="No mail was sent"):
        modules["mitx_site.mail.send"](wanted, "Subject", "Text")


def test_line_breaks_in_a_subject_make_no_headers(mitx):
    message = mitx().modules["mitx_site.mail.compose"](
        {"sender": "a@b.edu", "to": ["c@d.edu"]}, "One\r\nBcc: all@mit.edu", "Text"
    )
    assert message["Subject"] == "One Bcc: all@mit.edu"
    assert message["Bcc"] is None
