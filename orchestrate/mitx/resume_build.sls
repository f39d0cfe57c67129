# `salt-run mitx.resume_build`: configure the base instances again, so that `build` can be run again.
environment:
  mitx_run.held: []

base instances:
  mitx_hosts.highstate:
    - fleet: bases
    - failhard: True
    - require:
      - mitx_run: environment
