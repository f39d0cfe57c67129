databases:
  mitx_minions.migrated: []
