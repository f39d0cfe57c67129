# pillar mitx:retire_force: `salt-run mitx.retire force=True`, without waiting for retire:after.
old fleet:
  mitx_fleet.retired:
    - force: {{ pillar['mitx'].get('retire_force', False) }}
