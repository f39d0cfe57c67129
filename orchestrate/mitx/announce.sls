# `salt-run mitx.announce`; pillar mitx:announce_until in the middle of a window that takes longer.
{% set until = pillar['mitx'].get('announce_until') %}
announce:
  mitx_run.opened: []

maintenance page:
  mitx_page.published:
    - until: {{ until | json }}
    - failhard: True
    - require:
      - mitx_run: announce

3down request:
  mitx_window.requested:
    - until: {{ until | json }}
    - require:
      - mitx_page: maintenance page
