# `salt-run mitx.rebase`: by itself, before any run.
environment:
  mitx_run.held: []

release branch:
  mitx_release.rebased:
    - failhard: True
    - require:
      - mitx_run: environment
