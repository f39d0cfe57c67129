# The run is started, or gone on with, and the environment locked: without it nothing after it may begin.
run:
  mitx_upgrade.started:
    - failhard: True
