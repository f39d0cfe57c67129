# `salt-run mitx.swap_elb`: the new fleet in, healthy everywhere; then the old one out. Of the run, if it has begun; else the fleets are
# those that settings and the Salt database name.
run:
  mitx_upgrade.resumed:
    - name: salt-run mitx.swap_elb

old fleet out, new fleet in:
  mitx_fleet.swapped:
    - failhard: True
    - require:
      - mitx_upgrade: run
