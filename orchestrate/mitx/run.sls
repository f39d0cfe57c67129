# The run is started or continued, and the environment locked: without it nothing after it may begin.
run:
  mitx_upgrade.started:
    - failhard: True
