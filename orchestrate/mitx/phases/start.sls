new fleet:
  mitx_minions.running:
    - fleet: new

answers:
  mitx_check.passed:
    - check: smoke
    - require:
      - mitx_minions: new fleet
