"""Certificates: one may be imported under the ARN that others already use."""

from moto.acm.models import acm_backends

from sandbox.aws import answer
from sandbox.aws.service import Service


class Certificates(Service):
    """Where moto differs from what is needed here: it chooses every new certificate's ARN."""

    def import_certificate(self, call, forward):
        """
        Import one. With a ``CertificateArn`` that nobody knows it gets that: in AWS it was imported
        years ago.
        """
        wanted = call.parameters.get("CertificateArn")
        backend = call.backend(acm_backends)
        if not wanted or wanted in backend._certificates:
            return forward()
        parts = (call.parameters[key] for key in ("Certificate", "PrivateKey", "CertificateChain"))
        arn = backend.import_certificate(*parts, arn=None, tags=[])
        certificate = backend._certificates[wanted] = backend._certificates.pop(arn)
        certificate.arn = wanted
        return answer.result(call, {"CertificateArn": wanted})
