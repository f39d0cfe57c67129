"""
Mail to those who announce the window
=====================================

Pillar ``announce``::

    announce:
      sender: devops@example.edu
      to: [3down@example.edu]
      smtp:
        host: smtp.example.edu
        port: 587            # default: 587 with starttls, 465 with tls, 25 with none
        tls: starttls        # starttls (or true), tls from the first byte, or none (or false)
        user: mitx           # a login is refused without encryption
        password: secret
        ca_bundle: null      # path of the certificates to trust; default: the system's
        timeout: 30          # seconds

The password is written nowhere: not in the journal, not in an error, not in a log.
"""

import email.message
import email.utils
import hashlib
import re
import smtplib
import ssl

from salt.exceptions import CommandExecutionError

from mitx_run import events, journal, window
from mitx_site import ics


def request(settings, until=None):
    """
    Return the text to be posted on 3down: the request for the window; with ``until`` (see
    :py:func:`until`) the notice that it takes longer.
    """
    announced = window.times(settings["window"])
    names = window.listed([record["name"] for record in settings["records"]])
    what = f"The {settings['maintenance'].get('name') or 'Residential MITx'} system ({names})"
    questions = f"If you have any questions please contact {announced['contact']}"
    if until is None:
        return (
            f"{what} will be unavailable starting at {announced['start_text']} for an estimated"
            f" {announced['hours_text']} while {announced['reason']}. {questions}"
        )
    back = window.until(settings, until)["until_text"]
    return (
        f"{what} has been unavailable since {announced['start_text']} while {announced['reason']}."
        f" This takes longer than announced: we now expect it to be available again at {back}."
        f" {questions}"
    )


_PORTS = {"starttls": 587, "tls": 465, "none": 25}

_TLS = {
    None: "starttls",
    True: "starttls",
    "starttls": "starttls",
    "tls": "tls",
    "ssl": "tls",
    False: "none",
    "none": "none",
}

_ADDRESS = re.compile(r"[^@\s,;<>\"]+@[^@\s,;<>\"]+\Z")


def problems(announce):
    """
    Return what keeps mail from being sent with these settings (pillar ``announce``), as a list of
    sentences that begin with their key; empty if it can be sent, or if none is configured (``smtp``
    empty).
    """
    smtp = announce["smtp"]
    if not smtp:
        return []
    found = []
    if not smtp.get("host"):
        found.append("announce.smtp.host: missing")
    if _tls(smtp) is None:
        found.append(f"announce.smtp.tls: must be starttls, tls or none, is {smtp['tls']!r}")
    if smtp.get("user") and _tls(smtp) == "none":
        found.append(
            "announce.smtp.tls: a login would cross the network in clear text; use starttls or tls"
        )
    if bool(smtp.get("user")) != bool(smtp.get("password")):
        found.append("announce.smtp: user and password go together")
    if not _ADDRESS.match(str(announce["sender"] or "")):
        found.append(f"announce.sender: must be one address, is {announce['sender']!r}")
    if not announce["to"]:
        found.append("announce.to: names nobody")
    found += [
        f"announce.to: no address: {to!r}" for to in announce["to"] if not _ADDRESS.match(str(to))
    ]
    return found


def send(run, announce, subject, text, to=None, entry=None):
    """
    Send one mail. Returns ``{to: [addresses], refused: {address: reason}, message_id}``.

    announce
        The settings, as above.
    to
        Some of ``announce.to``; default: all of them.
    entry
        An entry for their calendars, see ``ics.entry``.

    Raises ``CommandExecutionError`` if it was sent to nobody, with what the server said.
    """
    found = problems(announce) if announce["smtp"] else ["announce.smtp: missing"]
    if found:
        raise CommandExecutionError("No mail was sent: " + "; ".join(found))
    smtp, message = announce["smtp"], compose(announce, subject, text, to, entry)
    recipients = list(to or announce["to"])
    with journal.gateway(
        run, "mail", change=True, host=smtp["host"], to=recipients, subject=subject
    ):
        refused = _deliver(smtp, message, recipients)
    return {
        "to": [address for address in recipients if address not in refused],
        "refused": refused,
        "message_id": message["Message-ID"],
    }


def announce(run, until=None):
    """
    Mail what 3down is asked to post (with ``until``: that it takes longer, see ``request``) to
    those of ``announce.to`` who have not had this very text yet. Returns what :py:func:`send` does,
    or ``None`` if nobody is left or no mail is configured.
    """
    to = unmailed(run, until)
    if not to:
        return None
    subject, text = _letter(run.settings, until)
    entry = ics.entry(run, text, until)
    sent = send(run, run.settings["announce"], subject, text, to, entry)
    events.write(run, "announced", digest=_digest(text), subject=subject, **sent)
    if sent["refused"]:
        raise CommandExecutionError(
            f"Mailed to {', '.join(sent['to'])}, but these were refused: {sent['refused']}. Correct"
            " announce.to; the same command mails only to those who have not had it."
        )
    return sent


def unmailed(run, until=None):
    """
    Return those of ``announce.to`` whom :py:func:`announce` would write to now; none if no mail is
    configured.
    """
    if not run.settings["announce"]["smtp"]:
        return []
    digest = _digest(_letter(run.settings, until)[1])
    had = set()
    for line in events.read(run, "announced", digest=digest):
        had |= set(line.get("to") or ())
    return [address for address in run.settings["announce"]["to"] if address not in had]


def compose(announce, subject, text, to=None, entry=None):
    """
    Return the mail, with ``entry`` attached, as ``email.message.EmailMessage``. Line breaks in
    ``subject`` become spaces.
    """
    message = email.message.EmailMessage()
    message["From"] = announce["sender"]
    message["To"] = ", ".join(to or announce["to"])
    message["Subject"] = " ".join(subject.split())
    message["Date"] = email.utils.localtime()
    message["Message-ID"] = email.utils.make_msgid(domain=announce["sender"].rpartition("@")[2])
    # Else programs that answer by themselves answer this.
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(text)
    if entry:
        message.add_attachment(
            entry,
            maintype="text",
            subtype="calendar",
            filename="maintenance.ics",
            params={"method": "PUBLISH", "charset": "utf-8"},
        )
    return message


def _letter(settings, until):
    announced = window.times(settings["window"])
    name = settings["maintenance"].get("name") or "Residential MITx"
    heading = "maintenance takes longer" if until is not None else "scheduled downtime"
    text = request(settings, until)
    lines = [text, "", f"From:   {announced['start_text']}", f"Until:  {announced['end_text']}"]
    if until is not None:
        moment = window.until(settings, until)
        lines[-1] = f"Until:  {moment['until_text']} (announced: {announced['end_text']})"
        lines.append(f"In UTC: {announced['start_utc']} to {moment['until_utc']}")
    else:
        lines.append(f"In UTC: {announced['start_utc']} to {announced['end_utc']}")
    return f"{name}: {heading}, {announced['start_text']}", "\n".join(lines) + "\n"


def _digest(text):
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _deliver(smtp, message, recipients):
    try:
        with _connect(smtp) as server:
            if smtp.get("user"):
                server.login(smtp["user"], smtp["password"])
            refused = server.send_message(message, to_addrs=recipients)
    except smtplib.SMTPRecipientsRefused as err:
        raise CommandExecutionError(_failed(smtp, _said(smtp, err.recipients))) from err
    except smtplib.SMTPNotSupportedError as err:
        raise CommandExecutionError(
            _failed(smtp, f"the server cannot do what is asked of it: {err}")
        ) from err
    except (smtplib.SMTPException, ssl.SSLError, OSError) as err:
        # Not "from err": an answer to a login may repeat what was sent, and a traceback would print
        # it.
        raise CommandExecutionError(
            _failed(smtp, _mask(smtp, f"{type(err).__name__}: {err}"))
        ) from None
    return _said(smtp, refused)


def _connect(smtp):
    tls = _tls(smtp)
    where = {
        "host": smtp["host"],
        "port": int(smtp.get("port") or _PORTS[tls]),
        "timeout": float(smtp.get("timeout") or 30),
    }
    if tls == "none":
        return smtplib.SMTP(**where)
    context = ssl.create_default_context(cafile=smtp.get("ca_bundle"))
    if tls == "tls":
        return smtplib.SMTP_SSL(**where, context=context)
    server = smtplib.SMTP(**where)
    try:
        server.starttls(context=context)
    except BaseException:
        server.close()
        raise
    return server


def _tls(smtp):
    value = smtp.get("tls")
    return _TLS.get(value.lower() if isinstance(value, str) else value)


def _said(smtp, refused):
    return {
        address: _mask(
            smtp,
            f"{code} {answer.decode(errors='replace') if isinstance(answer, bytes) else answer}",
        )
        for address, (code, answer) in refused.items()
    }


def _mask(smtp, text):
    return text.replace(str(smtp["password"]), "***") if smtp.get("password") else text


def _failed(smtp, reason):
    return (
        f"No mail was sent through {smtp['host']}: {reason}. The same command tries again; the text"
        " to post by hand: salt-run mitx.announce test=True"
    )
