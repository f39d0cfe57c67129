"""
A whole small MITx on one machine, to upgrade, to break, and to test against. ``python -m sandbox
--help``.
"""
