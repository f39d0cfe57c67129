# `salt-run mitx.redeploy`: the tip of origin's release branch on every host, then a restart.
environment:
  mitx_run.held: []

code:
  mitx_hosts.redeployed:
    - fleet: current
    - failhard: True
    - require:
      - mitx_run: environment

processes:
  mitx_minions.restarted:
    - fleet: current
    - require:
      - mitx_hosts: code
