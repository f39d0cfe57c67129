# On the workers, days before: what pillar drain.command runs there. `salt -G roles:edx-worker state.sls orchestrate.mitx.queue_depth`,
# and in the highstate, so that new workers have it too.
/usr/local/bin/mitx-queue-depth:
  file.managed:
    - source: salt://orchestrate/mitx/files/queue_depth.py
    - user: root
    - group: root
    - mode: '0755'
