# Stand-in for MITx's orchestrate.aws.mitx_elb: load balancers of every purpose, their DNS names, and the new instances.
# It points every domain at its load balancer (cnames), only ever adds instances, and waits for no health check.
{% set file = salt.config.get('sandbox:environment_settings') %}
{% set env_settings = salt.cp.get_url('file://' ~ file, dest=None)|load_yaml %}
{% set ENVIRONMENT = salt.environ.get('ENVIRONMENT', 'mitx-qa') %}
{% set PURPOSES = salt.environ.get('PURPOSES', 'current-residential-draft,current-residential-live').split(',') %}
{% set env_data = env_settings.environments[ENVIRONMENT] %}
{% set VPC_NAME = salt.environ.get('VPC_NAME', env_data.vpc_name) %}
{% set BUSINESS_UNIT = salt.environ.get('BUSINESS_UNIT', env_data.business_unit) %}
{% set launch_date = salt.status.time('%Y-%m-%d') %}
{% set subnets = salt.boto_vpc.get_subnet_ids(VPC_NAME) %}

{% macro create_elb(id, name, domains) %}
{{ id }}:
  boto_elb.present:
    - name: {{ name }}
    - listeners:
      - elb_port: 443
        instance_port: 443
        elb_protocol: HTTPS
        instance_protocol: HTTPS
        certificate: {{ salt.config.get('sandbox:certificate') }}
    - subnets: {{ subnets|json }}
    - attributes:
        connection_draining:
          enabled: True
          timeout: {{ salt.config.get('sandbox:drain', 300) }}
    - health_check:
        target: 'HTTPS:443/heartbeat'
        interval: {{ salt.config.get('sandbox:health_interval', 10) }}
        timeout: {{ salt.config.get('sandbox:health_timeout', 3) }}
        unhealthy_threshold: 2
        healthy_threshold: {{ salt.config.get('sandbox:health_healthy', 10) }}
    - cnames:
{% for domain in domains %}
      - name: {{ domain }}.
        zone: mitx.mit.edu.
        ttl: {{ salt.config.get('sandbox:ttl', 60) }}
{% endfor %}
    - tags:
        OU: {{ BUSINESS_UNIT }}
        Name: {{ name }}
        business_unit: {{ BUSINESS_UNIT }}
        created_at: '{{ launch_date }}'
{% endmacro %}

{% macro register(id, elb_id, name, instances) %}
{{ id }}:
  boto_elb.register_instances:
    - name: {{ name }}
    - instances: {{ instances|json }}
    - require:
      - boto_elb: {{ elb_id }}
{% endmacro %}

{% for purpose in PURPOSES %}
{% set purpose_data = env_data.purposes[purpose] %}
{% set domains = purpose_data.domains %}
{% set codename = purpose_data.versions.codename %}
{% set release = salt.sdb.get('sdb://consul/edxapp-{}-{}-release-version'.format(ENVIRONMENT, codename)) %}
{% set elb_name = 'edx-{}-{}'.format(purpose, ENVIRONMENT)[:32].strip('-') %}
{% set instances = [] %}
{% for number in range(purpose_data.instances.edx.number) %}
{%   set instance = salt.boto_ec2.get_id('edx-{}-{}-{}-v{}'.format(ENVIRONMENT, purpose, number, release)) %}
{%   if instance %}{% do instances.append(instance) %}{% endif %}
{% endfor %}
{% set live = purpose.endswith('-live') %}
{% set names = [] %}
{% for kind in domains if not (live and kind == 'cms') %}{% do names.append(domains[kind]) %}{% endfor %}
{{ create_elb('create_elb_for_edx_' ~ purpose, elb_name, names) }}
{{ register('register_edx_' ~ purpose ~ '_nodes_with_elb', 'create_elb_for_edx_' ~ purpose, elb_name, instances) }}
{% if live %}
{% set studio = 'edx-{}-studio-live-{}'.format(purpose.replace('-live', ''), ENVIRONMENT)[:32].strip('-') %}
{{ create_elb('create_elb_for_edx_' ~ purpose ~ '_studio', studio, [domains.cms]) }}
{{ register('register_edx_' ~ purpose ~ '_studio_nodes_with_elb', 'create_elb_for_edx_' ~ purpose ~ '_studio', studio, instances) }}
{% endif %}
{% endfor %}
