# `salt-run mitx.discard_build`: what is left of a build that broke off is thrown away, so that `build` can be run again.
run:
  mitx_upgrade.started:
    - begin: False

base instances and AMIs:
  mitx_fleet.build_discarded:
    - failhard: True
    - require:
      - mitx_upgrade: run
