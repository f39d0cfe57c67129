# Days after: the old fleet, by exact name and recorded instance id, is destroyed.
include:
  - orchestrate.mitx.run

retire:
  mitx_phase.done:
    - failhard: True
    - require:
      - mitx_run: run
