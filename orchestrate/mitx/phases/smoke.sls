processes:
  mitx_minions.running:
    - fleet: new
    - parts: [web]

commit:
  mitx_minions.at_commit:
    - fleet: new

answers:
  mitx_check.passed:
    - check: smoke
    - require:
      - mitx_minions: processes
