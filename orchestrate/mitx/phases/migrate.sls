# pillar window:pause_schedule, once more: since `close` another master may have taken over, or a day have passed.
backups wait:
  mitx_hosts.schedule_held: []

databases:
  mitx_hosts.migrated:
    - require:
      - mitx_hosts: backups wait
