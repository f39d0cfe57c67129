"""
Stand-in for the two look-ups of Salt's ``boto_vpc`` that MITx's existing orchestrations use
============================================================================================
"""

import boto3
import botocore.config


def get_id(name):
    """
    Return the id of the VPC called ``name``, or ``None``.

    CLI Example:

    .. code-block:: bash

        salt-call boto_vpc.get_id 'MITx QA'
    """
    found = _client().describe_vpcs(Filters=[{"Name": "tag:Name", "Values": [name]}])["Vpcs"]
    return found[0]["VpcId"] if found else None


def get_subnet_ids(name):
    """
    Return the ids of the subnets of the VPC called ``name``.

    CLI Example:

    .. code-block:: bash

        salt-call boto_vpc.get_subnet_ids 'MITx QA'
    """
    vpc = get_id(name)
    found = (
        _client().describe_subnets(Filters=[{"Name": "vpc-id", "Values": [vpc]}])["Subnets"]
        if vpc
        else []
    )
    return sorted(subnet["SubnetId"] for subnet in found)


def _client():
    return boto3.client("ec2", config=botocore.config.Config(user_agent_extra="sandbox-cloud"))
