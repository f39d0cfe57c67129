# `salt-run mitx.configure`: the configuration only, then a restart.
environment:
  mitx_run.held: []

configuration:
  mitx_hosts.configured_only:
    - fleet: current
    - failhard: True
    - require:
      - mitx_run: environment

Ansible's recaps:
  mitx_hosts.configured:
    - fleet: current
    - failhard: True
    - require:
      - mitx_minions: configuration

processes:
  mitx_minions.restarted:
    - fleet: current
    - require:
      - mitx_minions: Ansible's recaps
