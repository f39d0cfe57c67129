# `salt-run mitx.rebase`: by itself, before any run.
environment:
  mitx_upgrade.locked:
    - name: salt-run mitx.rebase

release branch:
  mitx_release.rebased:
    - accept: {{ pillar['mitx'].get('release_accept') | json }}
    - drop: {{ pillar['mitx'].get('release_drop') | json }}
    - carry: {{ pillar['mitx'].get('release_carry') | json }}
    - forget: {{ pillar['mitx'].get('release_forget') | json }}
    - resume: {{ pillar['mitx'].get('release_resume', False) }}
    - failhard: True
    - require:
      - mitx_upgrade: environment
