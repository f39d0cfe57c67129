# Stand-in for MITx's orchestrate.edx.deploy: launches the instances of every purpose from the AMIs in SDB, configures
# and starts them. Configures what was launched *today*: run again after midnight, it configures nothing.
{% set file = salt.config.get('sandbox:environment_settings') %}
{% set env_settings = salt.cp.get_url('file://' ~ file, dest=None)|load_yaml %}
{% set ENVIRONMENT = salt.environ.get('ENVIRONMENT', 'mitx-qa') %}
{% set PURPOSES = salt.environ.get('PURPOSES', 'current-residential-draft,current-residential-live').split(',') %}
{% set ANSIBLE_FLAGS = salt.environ.get('ANSIBLE_FLAGS') %}{# read, and then ignored #}
{% set env_data = env_settings.environments[ENVIRONMENT] %}
{% set VPC_NAME = salt.environ.get('VPC_NAME', env_data.vpc_name) %}
{% set BUSINESS_UNIT = salt.environ.get('BUSINESS_UNIT', env_data.business_unit) %}
{% set subnets = salt.boto_vpc.get_subnet_ids(VPC_NAME) %}
{% set launch_date = salt.status.time('%Y-%m-%d') %}
{% set cloud = salt.config.get('sandbox:cloud') %}
{# All purposes of a run are of one release. #}
{% set release = salt.sdb.get('sdb://consul/edxapp-{}-{}-release-version'.format(ENVIRONMENT, env_data.purposes[PURPOSES[0]].versions.codename)) %}
{% set target = 'P@roles:(edx|edx-worker) and G@environment:' ~ ENVIRONMENT ~ ' and G@release-version:' ~ release
                ~ ' and G@launch-date:' ~ launch_date %}

load_edx_cloud_profile:
  file.managed:
    - name: {{ cloud }}/cloud.profiles.d/edx.conf
    - contents: |
        edx:
          provider: sandbox
          size: r5.large

generate_edx_cloud_map_file:
  file.managed:
    - name: {{ cloud }}/cloud.maps.d/edx-{{ ENVIRONMENT }}.map
    - contents: |
        edx:
{% for purpose in PURPOSES %}
{%   set purpose_data = env_data.purposes[purpose] %}
{%   set codename = purpose_data.versions.codename %}
{%   set release = salt.sdb.get('sdb://consul/edxapp-{}-{}-release-version'.format(ENVIRONMENT, codename)) %}
{%   for role, short in (('edx', 'edx'), ('edx-worker', 'edx_worker')) %}
{%     set image = salt.sdb.get('sdb://consul/{}_{}_{}_ami_id'.format(short, ENVIRONMENT, codename)) %}
{%     for number in range(purpose_data.instances[role].number) %}
          - {{ role }}-{{ ENVIRONMENT }}-{{ purpose }}-{{ number }}-v{{ release }}:
              image: {{ image }}
              size: {{ purpose_data.instances[role].type }}
              subnet: {{ subnets[number % subnets|length] }}
              tag: {role: {{ role }}, environment: {{ ENVIRONMENT }}, purpose: {{ purpose }}, edx_codename: {{ codename }},
                    business_unit: {{ BUSINESS_UNIT }}, release-version: '{{ release }}', launch-date: '{{ launch_date }}',
                    Department: {{ BUSINESS_UNIT }}, OU: {{ BUSINESS_UNIT }}, Environment: {{ ENVIRONMENT }}}
{%     endfor %}
{%   endfor %}
{% endfor %}

deploy_edx_nodes:
  salt.function:
    - name: cloud.map_run
    - tgt: 'roles:master'
    - tgt_type: grain
    - kwarg:
        path: {{ cloud }}/cloud.maps.d/edx-{{ ENVIRONMENT }}.map
        parallel: True
    - require:
      - file: load_edx_cloud_profile
      - file: generate_edx_cloud_map_file

sync_external_modules_for_edx_nodes:
  salt.function:
    - name: saltutil.sync_modules
    - tgt: '{{ target }}'
    - tgt_type: compound
    - require:
      - salt: deploy_edx_nodes

deploy_edx_configuration:
  salt.state:
    - tgt: '{{ target }}'
    - tgt_type: compound
    - highstate: True
    - pillar:
        edx:
          ansible_flags: '--tags install:configuration'
    - require:
      - salt: sync_external_modules_for_edx_nodes

restart_edx_services:
  salt.function:
    - name: supervisord.restart
    - tgt: '{{ target }}'
    - tgt_type: compound
    - arg:
      - all
    - kwarg:
        bin_env: {{ salt.config.get('sandbox:supervisorctl') }}
    - require:
      - salt: deploy_edx_configuration
