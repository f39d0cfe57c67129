# Days after: the old fleet, by exact name and recorded instance id, is destroyed.
include:
  - orchestrate.mitx.run

retire:
  mitx_upgrade.phase_done:
    - failhard: True
    - require:
      - mitx_upgrade: run
