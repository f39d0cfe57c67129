# `salt-run mitx.redeploy`: the tip of origin's release branch on every host, then a restart.
environment:
  mitx_upgrade.locked:
    - name: salt-run mitx.redeploy

code:
  mitx_hosts.redeployed:
    - fleet: current
    - failhard: True
    - require:
      - mitx_upgrade: environment

processes:
  mitx_hosts.restarted:
    - fleet: current
    - require:
      - mitx_hosts: code
