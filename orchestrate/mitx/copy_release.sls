# `salt-run mitx.copy_release`: edX's open-release branches into origin, for pull requests against them.
environment:
  mitx_run.held: []

open-release branches:
  mitx_release.copied:
    - failhard: True
    - require:
      - mitx_run: environment
