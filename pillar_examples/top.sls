# The orchestrations and runner functions see the pillar of `<id of the master>_master`.
base:
  '*_master':
    - mitx
    - environments
