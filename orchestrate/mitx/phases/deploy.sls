# The existing deploy configures what was launched today; on another day it would leave our instances as they are.
launch date:
  mitx_minions.launch_date_set: []

orchestrate.edx.deploy:
  mitx_existing.ran:
    - check: mitx_existing.deploy_missing
    - require:
      - mitx_minions: launch date

# It leaves everything running, workers included, on the live databases.
workers are quiet at once:
  mitx_minions.stopped:
    - fleet: new
    - parts: [workers, systemd]
    - require:
      - mitx_fleet: new fleet

new fleet:
  mitx_fleet.launched:
    - require:
      - mitx_existing: orchestrate.edx.deploy

Ansible's recaps:
  mitx_minions.configured:
    - fleet: new
    - require:
      - mitx_minions: workers are quiet at once
