# `salt-run mitx.configure`: the configuration only, then a restart.
environment:
  mitx_upgrade.locked:
    - name: salt-run mitx.configure

configuration:
  mitx_hosts.configured_only:
    - fleet: current
    - failhard: True
    - require:
      - mitx_upgrade: environment

Ansible's recaps:
  mitx_hosts.configured:
    - fleet: current
    - failhard: True
    - require:
      - mitx_hosts: configuration

processes:
  mitx_hosts.restarted:
    - fleet: current
    - require:
      - mitx_hosts: Ansible's recaps
