# `salt-run mitx.discard_build`: what is left of a build that broke off is thrown away, so that `build` can be run again.
run:
  mitx_upgrade.started:
    - begin: False

# A build whose command was killed goes on, and would lose its bases in the middle.
no build is at work:
  mitx_hosts.cloud_idle:
    - failhard: True
    - require:
      - mitx_upgrade: run

base instances and AMIs:
  mitx_fleet.build_discarded:
    - failhard: True
    - require:
      - mitx_hosts: no build is at work
