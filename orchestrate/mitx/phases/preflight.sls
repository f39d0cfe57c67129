everything the run needs:
  mitx_upgrade.preflight_passed: []

current fleet:
  mitx_fleet.recorded:
    - fleet: old
    - require:
      - mitx_upgrade: everything the run needs
