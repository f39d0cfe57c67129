"""
Stands in for MITx's Vault: every secret is the word ``sandbox``
"""


def read(path):
    """
    Return ``{data: {value}}`` as Vault does.

    CLI Example:

    .. code-block:: bash

        salt-call vault.read secret-operations/global/slack/slack_api_token
    """
    return {"data": {"value": "sandbox"}}
