# The existing deploy configures what was launched today; on another day it would leave our instances as they are.
launch date:
  mitx_hosts.launch_date_set: []

orchestrate.edx.deploy:
  mitx_upgrade.saltops_ran:
    - require:
      - mitx_hosts: launch date

new fleet:
  mitx_fleet.launched:
    - require:
      - mitx_upgrade: orchestrate.edx.deploy

# It leaves everything running.
workers are quiet at once:
  mitx_hosts.stopped:
    - fleet: new
    - parts: [workers, systemd]
    - require:
      - mitx_fleet: new fleet

workers are let go:
  mitx_hosts.unfenced:
    - require:
      - mitx_hosts: workers are quiet at once

# A minion of the right name on the wrong host would be migrated on in its place.
minions are those of the new fleet:
  mitx_hosts.answering:
    - fleet: new
    - require:
      - mitx_hosts: workers are let go

Ansible's recaps:
  mitx_hosts.configured:
    - fleet: new
    - require:
      - mitx_hosts: minions are those of the new fleet
