web processes of the current fleet:
  mitx_minions.stopped:
    - fleet: old
    - parts: [web, systemd]

queues:
  mitx_minions.drained:
    - require:
      - mitx_minions: web processes of the current fleet

# What `migrate` begins with proves all of it once more, on both fleets.
workers of the current fleet:
  mitx_minions.stopped:
    - fleet: old
    - parts: [workers]
    - require:
      - mitx_minions: queues
