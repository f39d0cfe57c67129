"""
Stands in for Slack: what would be posted is written to ``logs/slack.jsonl`` of the sandbox
"""

import pathlib

from sandbox.hosts import record


def post_message(name, channel=None, message=None, **kwargs):
    """
    Write the message down. Its key of the API is not part of it.
    """
    if not __opts__["test"]:
        log = pathlib.Path(__opts__["sandbox"]["directory"]) / "logs" / "slack.jsonl"
        record.append(log, id=name, channel=channel, message=message)
    return {"name": name, "result": True, "changes": {}, "comment": "written down"}
