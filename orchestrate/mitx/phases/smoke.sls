processes:
  mitx_minions.running:
    - fleet: new
    - parts: [web]

commit:
  mitx_hosts.at_commit:
    - fleet: new

systemd services:
  mitx_minions.equipped: []

# Only reads: that it can, is better known days before.
unapplied migrations:
  mitx_minions.listed: []

answers:
  mitx_check.passed:
    - check: smoke
    - require:
      - mitx_minions: processes
