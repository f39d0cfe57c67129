# For the master's reactor, at every event of a run: pillar_examples/reactor.conf.
tell:
  runner.mitx.tell:
    - args:
      - event: {{ tag | json }}
      - error: {{ data.get('error', '') | string | json }}
      - command: {{ data.get('command', '') | string | json }}
