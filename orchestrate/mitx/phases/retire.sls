# Students' tracking logs lie on these hosts and nowhere else.
tracking logs:
  mitx_hosts.saved: []

# pillar mitx:retire_force: `salt-run mitx.retire force=True`, without waiting for retire:after.
old fleet:
  mitx_fleet.retired:
    - force: {{ pillar['mitx'].get('retire_force', False) }}
    - failhard: True
    - require:
      - mitx_hosts: tracking logs
