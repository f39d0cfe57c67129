# `salt-run mitx.rollback`: from wherever the window stands, in reverse, back to the recorded old fleet.
{% set said = pillar['mitx'].get('rollback', {}) %}
run:
  mitx_upgrade.started:
    - begin: False

rollback:
  mitx_upgrade.rolled_back:
    - database_restored: {{ said.get('database_restored', False) }}
    - accept_new_schema: {{ said.get('accept_new_schema', False) }}
    - stop_only: {{ said.get('stop_only', False) }}
    - restore: {{ said.get('restore', False) }}
    - failhard: True
    - require:
      - mitx_upgrade: run
