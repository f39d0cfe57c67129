# `salt-run mitx.restore_release`: the release branch back to one of its backups. pillar mitx:release_backup
environment:
  mitx_upgrade.locked:
    - name: salt-run mitx.restore_release

release branch:
  mitx_release.restored:
    - backup: {{ pillar['mitx'].get('release_backup') | json }}
    - failhard: True
    - require:
      - mitx_upgrade: environment
