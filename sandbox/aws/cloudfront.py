"""
CloudFront: distributions come back as they were created, and nothing is deployed or invalidated at
once.
"""

from datetime import datetime, timezone

from moto.cloudfront.models import cloudfront_backends

from sandbox.aws import answer
from sandbox.aws.answer import AwsError
from sandbox.aws.service import Pending, Service

DEFAULTS = {
    "Aliases": {"Quantity": 0},
    "DefaultRootObject": "",
    "OriginGroups": {"Quantity": 0},
    "CacheBehaviors": {"Quantity": 0},
    "CustomErrorResponses": {"Quantity": 0},
    "PriceClass": "PriceClass_All",
    "ViewerCertificate": {"CloudFrontDefaultCertificate": True, "MinimumProtocolVersion": "TLSv1"},
    "Restrictions": {"GeoRestriction": {"RestrictionType": "none", "Quantity": 0}},
    "WebACLId": "",
    "HttpVersion": "http2",
    "IsIPV6Enabled": True,
    "Staging": False,
}
SUMMARY = ("Comment", "Enabled", "Origins", "DefaultCacheBehavior", *DEFAULTS)


class Held:
    """A distribution as its owner described it, beside moto's."""

    def __init__(self, moto, config, pending):
        self.moto = moto
        self.version = 0
        self.fixed_status = None
        self.update(config, pending)

    def update(self, config, pending):
        """Take a new description; the ETag changes with it."""
        self.config = DEFAULTS | config
        self.pending = pending
        self.version += 1
        self.modified = datetime.now(timezone.utc)

    @property
    def etag(self):
        """The version, as AWS hides it."""
        return f"{self.moto.etag}{self.version}"

    @property
    def aliases(self):
        """The names that it serves besides its own."""
        return self.config["Aliases"].get("Items") or []

    def as_dict(self, in_progress=0):
        """Return what a summary and a whole description have in common."""
        return {
            "Id": self.moto.distribution_id,
            "ARN": self.moto.arn,
            "Status": self.fixed_status or ("Deployed" if self.pending.over else "InProgress"),
            "LastModifiedTime": self.modified,
            "InProgressInvalidationBatches": in_progress,
            "DomainName": self.moto.domain_name,
            "ActiveTrustedSigners": {"Enabled": False, "Quantity": 0},
        }


class Distributions(Service):
    """
    Where moto differs: it drops origin access control and more on reading back, lets two
    distributions have one alias, ignores ``IfMatch``, deploys and invalidates at once, and says
    COMPLETED where AWS says Completed.
    """

    def __init__(self, folder, settings):
        super().__init__(folder, settings)
        self.held = {}
        self.invalidations = {}

    def reset(self):
        """Forget all."""
        self.held.clear()
        self.invalidations.clear()

    def settle(self, call):
        """Let invalidations become completed."""
        for invalidation, pending in list(self.invalidations.items()):
            if pending.over:
                invalidation.status = "Completed"
                del self.invalidations[invalidation]

    def set_status(self, distribution, status):
        """
        Fix a distribution's status (InProgress, Deployed) until it is set to None; KeyError: no
        such one.
        """
        with self.lock:
            self.held[distribution].fixed_status = status

    def create_distribution(self, call, forward):
        """Create one; an alias that another one has is refused."""
        return self._create(call, forward, call.parameters["DistributionConfig"])

    def create_distribution_with_tags(self, call, forward):
        """The same, with tags."""
        return self._create(
            call, forward, call.parameters["DistributionConfigWithTags"]["DistributionConfig"]
        )

    def get_distribution(self, call, forward):
        """Answer a whole description."""
        return self._whole(call, self._find(call))

    def get_distribution_config(self, call, forward):
        """Answer only what the owner described."""
        held = self._find(call)
        return answer.result(call, {"DistributionConfig": held.config, "ETag": held.etag})

    def list_distributions(self, call, forward):
        """Answer a summary of each."""
        items = [
            held.as_dict() | {name: held.config.get(name) for name in SUMMARY}
            for held in self.held.values()
        ]
        listing = {
            "Marker": "",
            "MaxItems": 100,
            "IsTruncated": False,
            "Quantity": len(items),
            "Items": items,
        }
        return answer.result(call, {"DistributionList": listing})

    def update_distribution(self, call, forward):
        """Take a new description, if the caller knows the latest."""
        held = self._find(call)
        self._check_match(call, held)
        config = call.parameters["DistributionConfig"]
        self._check_aliases(config, held)
        held.update(config, self._deploying(call))
        return self._whole(call, held)

    def delete_distribution(self, call, forward):
        """Delete one that is disabled, if the caller knows the latest."""
        held = self._find(call)
        self._check_match(call, held)
        if held.config.get("Enabled"):
            raise AwsError(
                "DistributionNotDisabled",
                "The distribution you are trying to delete has not been disabled.",
            )
        del self.held[held.moto.distribution_id]
        return forward()

    def create_invalidation(self, call, forward):
        """Start one; asked again with the same reference and paths, answer the first."""
        distribution = self._find(call).moto
        batch = call.parameters["InvalidationBatch"]
        backend = call.backend(cloudfront_backends, "aws")
        invalidation = self._same(backend, distribution.distribution_id, batch)
        if invalidation is None:
            paths = batch["Paths"].get("Items") or []
            invalidation = backend.create_invalidation(
                distribution.distribution_id, paths, batch["CallerReference"]
            )
            invalidation.status = "InProgress"
            self.invalidations[invalidation] = Pending(
                lambda: self.settings.invalidation, call.fault
            )
        return answer.result(
            call, {"Invalidation": invalidation, "Location": invalidation.location}
        )

    @staticmethod
    def _same(backend, distribution, batch):
        for invalidation in backend.invalidations.get(distribution, []):
            if invalidation.caller_ref == batch["CallerReference"]:
                if sorted(invalidation.paths) == sorted(batch["Paths"].get("Items") or []):
                    return invalidation
                raise AwsError(
                    "InvalidArgument", "Your caller reference was used before with different paths."
                )
        return None

    def _create(self, call, forward, config):
        self._check_aliases(config)
        backend = call.backend(cloudfront_backends, "aws")
        before = set(backend.distributions)
        response = forward()
        for new in set(backend.distributions) - before:
            self.held[new] = Held(backend.distributions[new], config, self._deploying(call))
            return self._whole(call, self.held[new], status=201)
        return response

    def _whole(self, call, held, status=200):
        open_ones = sum(
            held.moto.distribution_id == i.distribution.distribution_id for i in self.invalidations
        )
        whole = held.as_dict(open_ones) | {"DistributionConfig": held.config}
        data = {"Distribution": whole, "ETag": held.etag, "Location": held.moto.location}
        response = answer.result(call, data)
        response.status_code = status
        return response

    def _deploying(self, call):
        return Pending(lambda: self.settings.distribution, call.fault)

    def _find(self, call):
        distribution = call.parameters.get("DistributionId") or call.parameters.get("Id")
        if distribution not in self.held:
            raise AwsError("NoSuchDistribution", "The specified distribution does not exist.")
        return self.held[distribution]

    def _check_aliases(self, config, own=None):
        wanted = (config.get("Aliases") or {}).get("Items") or []
        taken = [name for held in self.held.values() if held is not own for name in held.aliases]
        for name in wanted:
            if name in taken:
                raise AwsError(
                    "CNAMEAlreadyExists",
                    "One or more of the CNAMEs you provided are already associated with another"
                    f" resource: {name}",
                )

    @staticmethod
    def _check_match(call, held):
        given = call.parameters.get("IfMatch")
        if not given:
            raise AwsError(
                "InvalidIfMatchVersion",
                "The If-Match version is missing or not valid for the resource.",
            )
        if given != held.etag:
            raise AwsError(
                "PreconditionFailed",
                "The precondition given in one or more of the request-header fields evaluated to"
                " false.",
            )
