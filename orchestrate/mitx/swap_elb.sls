# `salt-run mitx.swap_elb`: the new fleet in, healthy everywhere; then the old one out.
run:
  mitx_run.opened:
    - begin: False

old fleet out, new fleet in:
  mitx_elb.swapped:
    - failhard: True
    - require:
      - mitx_run: run
