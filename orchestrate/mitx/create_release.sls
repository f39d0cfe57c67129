# `salt-run mitx.create_release`: mitx/<codename> from edX's first .master, once for each release.
environment:
  mitx_run.held: []

release branch:
  mitx_release.created:
    - failhard: True
    - require:
      - mitx_run: environment
