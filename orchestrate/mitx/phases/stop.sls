web processes of the current fleet:
  mitx_hosts.stopped:
    - fleet: old
    - parts: [web, systemd]

queues:
  mitx_hosts.drained:
    - require:
      - mitx_hosts: web processes of the current fleet

# What `migrate` begins with proves all of it once more, on both fleets.
workers of the current fleet:
  mitx_hosts.stopped:
    - fleet: old
    - parts: [workers]
    - require:
      - mitx_hosts: queues
