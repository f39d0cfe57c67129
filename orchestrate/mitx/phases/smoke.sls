# The window would be refused for it: better known days before. pillar rehearsal:required
rehearsal:
  mitx_upgrade.rehearsed: []

processes:
  mitx_hosts.running:
    - fleet: new
    - parts: [web]

commit:
  mitx_hosts.at_commit:
    - fleet: new

systemd services:
  mitx_hosts.equipped: []

# Only reads: that it can, is better known days before.
unapplied migrations:
  mitx_hosts.listed: []

answers:
  mitx_site.checked:
    - check: smoke
    - require:
      - mitx_hosts: processes

# pillar smoke:states, MITx's edx.tests
MITx's own tests:
  mitx_hosts.smoke_tested:
    - require:
      - mitx_site: answers
