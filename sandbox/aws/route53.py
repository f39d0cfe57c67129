"""
Route 53: a batch of changes is checked whole and applied whole, and takes a moment to reach the
name servers.
"""

from datetime import datetime, timezone

from moto.moto_api._internal import mock_random
from moto.route53.exceptions import UnsupportedCharacter
from moto.route53.models import RecordSet, route53_backends
from moto.route53.utils import validate_domain_name

from sandbox.aws import answer
from sandbox.aws.answer import AwsError
from sandbox.aws.service import Pending, Service

ID_CHARACTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
LONGEST_LABEL = 63
MOST_RECORDS = 1000


class Change:
    """One accepted batch: what the zone holds after it, and when the name servers know."""

    def __init__(self, zone_id, after, pending):
        self.id = "C" + "".join(mock_random.choice(ID_CHARACTERS) for _ in range(13))
        self.zone_id = zone_id
        self.after = after
        self.pending = pending
        self.submitted = datetime.now(timezone.utc)

    def as_dict(self):
        """Return it as GetChange tells it."""
        status = "INSYNC" if self.pending.over else "PENDING"
        return {"Id": f"/change/{self.id}", "Status": status, "SubmittedAt": self.submitted}


class Dns(Service):
    """
    Where moto differs: it applies half a batch, deletes and creates what is not, or is already,
    there, and every change is INSYNC at once. A client called ``sandbox-dns`` is shown what the
    name servers know, not what was asked.
    """

    def __init__(self, folder, settings):
        super().__init__(folder, settings)
        self.changes = {}
        self.known = {}

    def reset(self):
        """Forget all changes."""
        self.changes.clear()
        self.known.clear()

    def change_resource_record_sets(self, call, forward):
        """
        Check every change against the zone as those before it leave it; apply all of them, or none.
        """
        zone = self._zone(call)
        self.known.setdefault(zone.id, list(zone.rrsets))
        zone.rrsets = Batch(zone).apply(call.parameters["ChangeBatch"]["Changes"])
        change = Change(zone.id, zone.rrsets, Pending(lambda: self.settings.dns_sync, call.fault))
        self.changes[change.id] = change
        return answer.result(call, {"ChangeInfo": change.as_dict()})

    def get_change(self, call, forward):
        """Answer whether the name servers know a change."""
        change_id = call.parameters["Id"].rsplit("/", 1)[-1]
        if change_id not in self.changes:
            raise AwsError(
                "NoSuchChange",
                f"A change with the specified change ID ({change_id}) does not exist.",
            )
        return answer.result(call, {"ChangeInfo": self.changes[change_id].as_dict()})

    def list_resource_record_sets(self, call, forward):
        """Answer what was asked for last; to the sandbox's name server, what is INSYNC."""
        zone = self._zone(call)
        wanted, zone.rrsets = (
            zone.rrsets,
            (self._public(zone) if call.agent == "sandbox-dns" else zone.rrsets),
        )
        try:
            return forward()
        finally:
            zone.rrsets = wanted

    def _public(self, zone):
        in_sync = [
            change
            for change in self.changes.values()
            if change.zone_id == zone.id and change.pending.over
        ]
        return in_sync[-1].after if in_sync else self.known.get(zone.id, zone.rrsets)

    @staticmethod
    def _zone(call):
        zone_id = call.parameters["HostedZoneId"].rsplit("/", 1)[-1]
        zones = call.backend(route53_backends, "aws").zones
        if zone_id not in zones:
            raise AwsError("NoSuchHostedZone", f"No hosted zone found with ID: {zone_id}")
        return zones[zone_id]


class Batch:
    """The record sets of a zone while a batch is worked out; the zone itself is not touched."""

    def __init__(self, zone):
        self.zone = zone.name if zone.name.endswith(".") else f"{zone.name}."
        self.sets = {(r.name, r.type, r.set_identifier): r for r in zone.rrsets}
        self.problems = []
        self.seen = set()

    def apply(self, changes):
        """
        Return the record sets after all changes; AwsError InvalidChangeBatch with every problem
        found.
        """
        if (
            sum(len(change["ResourceRecordSet"].get("ResourceRecords") or []) for change in changes)
            > MOST_RECORDS
        ):
            raise AwsError(
                "InvalidChangeBatch", f"Number of records limit of {MOST_RECORDS} exceeded."
            )
        for change in changes:
            wanted = _record_set(change["ResourceRecordSet"])
            problem = self._problem(change["Action"], wanted)
            if problem:
                self.problems.append(problem)
            elif change["Action"] == "DELETE":
                del self.sets[_key(wanted)]
            else:
                self.sets[_key(wanted)] = wanted
        if self.problems:
            raise AwsError("InvalidChangeBatch", f"[{', '.join(self.problems)}]")
        return list(self.sets.values())

    def _problem(self, action, wanted):
        """Return what is wrong with one change, None for nothing."""
        if (action, _key(wanted)) in self.seen:
            return (
                "The request contains an invalid set of changes for a resource record set"
                f" {_named(wanted)}"
            )
        self.seen.add((action, _key(wanted)))
        problem = self._name_problem(wanted.name) or _value_problem(wanted)
        if problem:
            return problem
        found = self.sets.get(_key(wanted))
        if action == "DELETE":
            return self._delete_problem(found, wanted)
        if action == "CREATE" and found:
            return f"Tried to create resource record set {_named(wanted)} but it already exists"
        return self._conflict(wanted)

    def _name_problem(self, name):
        if name != self.zone and not name.endswith(f".{self.zone}"):
            return f"RRSet with DNS name {name} is not permitted in zone {self.zone}"
        if any(not 1 <= len(label) <= LONGEST_LABEL for label in name[:-1].split(".")):
            return (
                f"FATAL problem: DomainLabelTooLong or DomainLabelEmpty encountered with '{name}'"
            )
        try:
            validate_domain_name(name)
        except UnsupportedCharacter as err:
            return err.message
        return None

    @staticmethod
    def _delete_problem(found, wanted):
        if not found:
            return f"Tried to delete resource record set {_named(wanted)} but it was not found"
        if _content(found) != _content(wanted):
            return (
                f"Tried to delete resource record set {_named(wanted)} but the values provided do"
                " not match the current values"
            )
        return None

    def _conflict(self, wanted):
        """A CNAME stands alone at its name, and never at the top of the zone."""
        if wanted.type == "CNAME" and wanted.name == self.zone:
            return (
                f"RRSet of type CNAME with DNS name {wanted.name} is not permitted at apex in zone"
                f" {self.zone}"
            )
        others = {other.type for other in self.sets.values() if other.name == wanted.name} - {
            wanted.type
        }
        if others and (wanted.type == "CNAME" or "CNAME" in others):
            return (
                f"RRSet of type {wanted.type} with DNS name {wanted.name} is not permitted because"
                f" a conflicting RRSet of type {sorted(others)[0]} with the same DNS name already"
                f" exists in zone {self.zone}"
            )
        return None


def _record_set(data):
    """Return moto's record set for a parsed one, with a full, lower-case name."""
    name = data["Name"].lower()
    values = [record["Value"] for record in data.get("ResourceRecords") or []]
    return RecordSet(
        data | {"Name": name if name.endswith(".") else f"{name}.", "ResourceRecords": values}
    )


def _value_problem(wanted):
    if not wanted.alias_target and (wanted.ttl is None or not wanted.records):
        return (
            "Invalid request: Expected exactly one of [AliasTarget, all of [TTL, and"
            " ResourceRecords], or TrafficPolicyInstanceId], but found none in Change with"
            f" [Name={wanted.name}, Type={wanted.type}]"
        )
    if wanted.type == "CNAME" and len(wanted.records) > 1:
        return f"FATAL problem: CNAME with more than one value encountered at '{wanted.name}'"
    return None


def _key(record):
    return record.name, record.type, record.set_identifier


def _named(record):
    return f"[name='{record.name}', type='{record.type}']"


def _content(record):
    alias = record.alias_target and dict(record.alias_target)
    return None if alias else int(record.ttl), sorted(record.records or []), alias
