"""
Campaigns: the upgrade under kills and faults, many times over, on demand. They take minutes to
hours, so no test run includes them::

    python -m tests.campaigns window --stage before,effect
    python -m tests.campaigns prepare --stage before --mode leader
    python -m tests.campaigns rollback --stage effect,written --share 0.5 --seed 7
    python -m tests.campaigns soak --rounds 10 --seed 7

Each prints what it did as it goes, checks the whole sandbox at the end, and exits 1 where anything
was lost or doubled. ``--table docs/reliability.md`` adds the line of the result to the table there.
"""
