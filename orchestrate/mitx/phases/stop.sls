web processes of the current fleet:
  mitx_minions.stopped:
    - fleet: old
    - parts: [web, systemd]

queues:
  mitx_minions.drained:
    - require:
      - mitx_minions: web processes of the current fleet

everything of the current fleet:
  mitx_minions.stopped:
    - fleet: old
    - require:
      - mitx_minions: queues
