# `salt-run mitx.rebase`: by itself, before any run.
environment:
  mitx_run.held: []

release branch:
  mitx_release.rebased:
    - accept: {{ pillar['mitx'].get('release_accept') | json }}
    - drop: {{ pillar['mitx'].get('release_drop') | json }}
    - failhard: True
    - require:
      - mitx_run: environment
