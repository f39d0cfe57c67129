old fleet:
  mitx_fleet.retired: []
