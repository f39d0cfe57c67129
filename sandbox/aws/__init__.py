"""
The sandbox's AWS: moto, corrected where it is kinder than AWS. It logs calls, and makes faults on
demand.

``FakeAWS`` runs it inside the calling process (tests); ``AWS`` drives one that runs elsewhere
(``python -m sandbox.aws``). Both have the same methods.
"""

from sandbox.aws.client import AWS, FakeAWS

__all__ = ["AWS", "FakeAWS"]
