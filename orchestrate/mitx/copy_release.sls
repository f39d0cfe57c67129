# `salt-run mitx.copy_release`: edX's open-release branches into origin, for pull requests against them. pillar mitx:release_names
environment:
  mitx_upgrade.locked:
    - name: salt-run mitx.copy_release

open-release branches:
  mitx_release.copied:
    - branches: {{ pillar['mitx'].get('release_names') | json }}
    - failhard: True
    - require:
      - mitx_upgrade: environment
