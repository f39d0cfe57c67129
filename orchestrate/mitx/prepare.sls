# Days before the window, in this order. No downtime: the current fleet serves all through it.
include:
  - orchestrate.mitx.run

# Everything that later phases need is looked at, nothing is changed; the current fleet is recorded.
preflight:
  mitx_upgrade.phase_done:
    - failhard: True

# The 3down request; the maintenance page with the window on it.
announce:
  mitx_upgrade.phase_done:
    - failhard: True

# MIT's patches onto the new Open edX release (or, where the release comes from QA, QA's is proven).
rebase:
  mitx_upgrade.phase_done:
    - failhard: True

# orchestrate.edx.build_ami
build:
  mitx_upgrade.phase_done:
    - failhard: True

# Both AMIs available, Ansible's recaps clean.
images:
  mitx_upgrade.phase_done:
    - failhard: True

# orchestrate.edx.update_edxapp_ami_sdb
record:
  mitx_upgrade.phase_done:
    - failhard: True

# orchestrate.edx.deploy; the workers of the new fleet are fenced off, then stopped at once.
deploy:
  mitx_upgrade.phase_done:
    - failhard: True

# Every new web instance answers, with the right code. A new fleet that fails must not go on working beside the current one.
smoke:
  mitx_upgrade.phase_done:
    - undo: orchestrate.mitx.phases.quiesce
    - failhard: True

# The new fleet is quiet until the window.
quiesce:
  mitx_upgrade.phase_done:
    - failhard: True
