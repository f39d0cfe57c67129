# DNS is left alone: the wrapper takes the cnames out of whatever the existing orchestration renders to.
{% set existing = not salt.mitx_settings.get().attach.without_existing %}
{% if existing %}
orchestrate.aws.mitx_elb:
  mitx_existing.ran:
    - sls: orchestrate.mitx.existing.mitx_elb
    - check: mitx_existing.attach_missing
{% endif %}

new fleet is in service:
  mitx_elb.swapped:
    - deregister: False
    {% if existing %}
    - require:
      - mitx_existing: orchestrate.aws.mitx_elb
    {% endif %}
