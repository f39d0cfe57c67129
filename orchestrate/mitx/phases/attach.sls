# DNS is left alone: the wrapper takes the cnames out of whatever the existing orchestration renders to.
{% set existing = not salt.mitx_run.get_settings().attach.without_existing %}
{% if existing %}
orchestrate.aws.mitx_elb:
  mitx_upgrade.saltops_ran:
    - sls: orchestrate.mitx.existing.mitx_elb
{% endif %}

new fleet is in service:
  mitx_fleet.swapped:
    - deregister: False
    {% if existing %}
    - require:
      - mitx_upgrade: orchestrate.aws.mitx_elb
    {% endif %}
