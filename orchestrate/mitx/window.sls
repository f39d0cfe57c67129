# The night. Visitors see the maintenance page from `close` until `open`; nothing before `close` is visible to them.
#
# close    page fresh; LMS, Studio and preview to CloudFront in one batch; visitors really see the page
# stop     every process of the current fleet, the queues drained first
# migrate  each purpose's databases, on one new instance of it
# start    every process of the new fleet
# attach   orchestrate.aws.mitx_elb, without its DNS change; all healthy
# detach   the current fleet out of the load balancers, drained
# verify   the site through its load balancers, while visitors still see the page; then a human says yes
# open     DNS back; visitors really see the site
include:
  - orchestrate.mitx.run

{% for phase in ['close', 'stop', 'migrate', 'start', 'attach', 'detach', 'verify', 'open'] %}
{{ phase }}:
  mitx_phase.done:
    - failhard: True
    - require:
      {% if loop.first %}
      - mitx_run: run
      {% else %}
      - mitx_phase: {{ loop.previtem }}
      {% endif %}
{% endfor %}
