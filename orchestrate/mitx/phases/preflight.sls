everything the run needs:
  mitx_preflight.passed: []

current fleet:
  mitx_fleet.recorded:
    - fleet: old
    - require:
      - mitx_preflight: everything the run needs
