databases:
  mitx_hosts.migrated: []
