"""
What boto 2, which Salt 3006's ``boto_*`` modules speak with, needs besides.

It reaches a local endpoint as a proxy: ``BOTO_CONFIG`` naming a file with ``[Boto]``, ``is_secure =
False``, ``proxy = 127.0.0.1`` and ``proxy_port``.
"""

import re

OLD_SIGNATURE = "AWS3-HTTPS"
NEW_SIGNATURE = (
    "AWS4-HMAC-SHA256 Credential=sandbox/20120101/us-east-1/route53/aws4_request,"
    " SignedHeaders=host, Signature=0"
)
CIDR_BLOCKS = re.compile(
    r"<cidrBlockAssociationSet>.*?</cidrBlockAssociationSet>|<cidrBlockAssociationSet ?/>",
    re.DOTALL,
)


def sign(environ):
    """
    Put a signature that names the service in place of the one that boto 2 uses for Route 53 alone.
    """
    if environ.get("HTTP_X_AMZN_AUTHORIZATION", "").startswith(OLD_SIGNATURE):
        environ["HTTP_AUTHORIZATION"] = NEW_SIGNATURE


def readable(call, response):
    """Take away what makes boto 2 forget a VPC's id."""
    if call.agent == "boto" and call.operation == "describe_vpcs":
        response.set_data(CIDR_BLOCKS.sub("", response.get_data(as_text=True)))
    return response
