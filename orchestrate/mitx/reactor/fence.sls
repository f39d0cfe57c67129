# For the master's reactor, at the start of a worker's minion: pillar_examples/reactor.conf.
fence:
  runner.mitx.fence:
    - args:
      - minion: {{ data['id'] | json }}
      - started: {{ data['_stamp'] | string | json }}
