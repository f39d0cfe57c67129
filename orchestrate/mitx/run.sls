# The run is opened, or gone on with, and the environment held.
run:
  mitx_upgrade.started: []
