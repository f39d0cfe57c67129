# Days before the window. No downtime: the current fleet serves all through it.
#
# preflight  everything that later phases need is looked at, nothing is changed; the current fleet is recorded
# announce   the 3down request; the maintenance page with the window on it
# rebase     MIT's patches onto the new Open edX release (or, where the release comes from QA, QA's is proven)
# build      orchestrate.edx.build_ami
# images     both AMIs available, Ansible's recaps clean
# record     orchestrate.edx.update_edxapp_ami_sdb
# deploy     orchestrate.edx.deploy; the workers of the new fleet are stopped at once
# smoke      every new web instance answers, with the right code
# quiesce    the new fleet is quiet until the window
include:
  - orchestrate.mitx.run

{% for phase in ['preflight', 'announce', 'rebase', 'build', 'images', 'record', 'deploy', 'smoke', 'quiesce'] %}
{{ phase }}:
  mitx_phase.done:
    {% if phase == 'smoke' %}
    # A new fleet that is not right must not go on working beside the current one.
    - undo: orchestrate.mitx.phases.quiesce
    {% endif %}
    - failhard: True
    - require:
      {% if loop.first %}
      - mitx_run: run
      {% else %}
      - mitx_phase: {{ loop.previtem }}
      {% endif %}
{% endfor %}
