# `salt-run mitx.resume_build`: configure the base instances again, so that `build` can be run again.
environment:
  mitx_upgrade.locked:
    - name: salt-run mitx.resume_build

base instances:
  mitx_hosts.highstate:
    - fleet: bases
    - failhard: True
    - require:
      - mitx_upgrade: environment
