# Stand-in for MITx's orchestrate.edx.build_ami: two base instances, a highstate, two AMIs, the release number raised.
# Told what to do by environment variables, read while this renders. Run twice, it builds twice and raises twice.
{% set file = salt.config.get('sandbox:environment_settings') %}
{% set env_settings = salt.cp.get_url('file://' ~ file, dest=None)|load_yaml %}
{% set ENVIRONMENT = salt.environ.get('ENVIRONMENT') %}
{% set PURPOSE = salt.environ.get('PURPOSE', 'current-residential-draft') %}
{% set env_data = env_settings.environments[ENVIRONMENT] %}
{% set VPC_NAME = salt.environ.get('VPC_NAME', env_data.vpc_name) %}
{% set BUSINESS_UNIT = salt.environ.get('BUSINESS_UNIT', env_data.business_unit) %}
{% set codename = env_data.purposes[PURPOSE].versions.codename %}
{% set release_key = 'sdb://consul/edxapp-{}-{}-release-version'.format(ENVIRONMENT, codename) %}
{% set release_number = salt.sdb.get(release_key)|default(0, True)|int + 1 %}
{% set bases = {'edx': 'edxapp-{}-{}-base'.format(ENVIRONMENT, codename),
                'edx-worker': 'edx-worker-{}-{}-base'.format(ENVIRONMENT, codename)} %}
{% set amis = {'edx': 'edxapp_{}_{}_base_release_{}'.format(ENVIRONMENT, codename, release_number),
               'edx-worker': 'edx_worker_{}_{}_base_release_{}'.format(ENVIRONMENT, codename, release_number)} %}
{# Production is built from QA's AMIs: no code is checked out, what QA's AMI holds is what production runs. #}
{% set from_qa = ENVIRONMENT == 'mitx-production' %}
{% set images = {} %}
{% for role, short in (('edx', 'edx'), ('edx-worker', 'edx_worker')) %}
{%   if from_qa %}
{%     do images.update({role: salt.sdb.get('sdb://consul/{}_mitx-qa_{}_ami_id'.format(short, codename))}) %}
{%   else %}
{%     do images.update({role: salt.boto_ec2.find_images(ami_name='ubuntu-base')[0]}) %}
{%   endif %}
{% endfor %}
{% if from_qa %}
{%   set ansible_flags = '--tags install:configuration' %}
{% elif salt.environ.get('RUN_MIGRATIONS') %}
{%   set ansible_flags = '-e migrate_db=yes' %}
{% else %}
{%   set ansible_flags = '' %}
{% endif %}
{% set subnets = salt.boto_vpc.get_subnet_ids(VPC_NAME) %}
{% set configured = 'P@roles:(edx-base|edx-base-worker) and G@environment:' ~ ENVIRONMENT %}
{% set named = 'edx*' ~ ENVIRONMENT ~ '*base' %}

update_edx_codename_value:
  salt.function:
    - name: sdb.set
    - tgt: 'roles:master'
    - tgt_type: grain
    - arg:
      - sdb://consul/edx_codename
      - {{ codename }}

{% for role, name in bases.items() %}
load_{{ role }}_base_cloud_profile:
  file.managed:
    - name: {{ salt.config.get('sandbox:cloud') }}/cloud.profiles.d/{{ role }}-{{ ENVIRONMENT }}-base.conf
    - contents: |
        {{ role }}-{{ ENVIRONMENT }}-base:
          provider: sandbox
          image: {{ images[role] }}
          size: r5.large
          subnet: {{ subnets[0] }}
          tag: {role: {{ role }}, environment: {{ ENVIRONMENT }}, purpose: {{ PURPOSE }}, edx_codename: {{ codename }},
                business_unit: {{ BUSINESS_UNIT }}, OU: {{ BUSINESS_UNIT }}}

deploy_{{ role }}_base_instance:
  salt.function:
    - name: cloud.profile
    - tgt: 'roles:master'
    - tgt_type: grain
    - arg:
      - {{ role }}-{{ ENVIRONMENT }}-base
      - [{{ name }}]
    - require:
      - file: load_{{ role }}_base_cloud_profile
{% endfor %}

{# By grains, like the real one: once they are deleted no later build finds these hosts. #}
build_edx_base_nodes:
  salt.state:
    - tgt: '{{ configured }}'
    - tgt_type: compound
    - highstate: True
    - pillar: {{ {'edx': {'ansible_flags': ansible_flags}}|json }}
    - require:
{% for role in bases %}
      - salt: deploy_{{ role }}_base_instance
{% endfor %}

{% set stripped = ['business_unit', 'environment', 'purpose', 'roles'] %}
{% for grain in stripped %}
strip_{{ grain }}_grain_from_edx_base_nodes:
  salt.function:
    - name: state.single
    - tgt: '{{ named }}'
    - tgt_type: compound
    - arg:
      - grains.absent
    - kwarg:
        name: {{ grain }}
        # A host says that it has done a job a moment before it takes the next.
        queue: True
        force: True
        destructive: True
    - require:
      - salt: build_edx_base_nodes
{% endfor %}

disable_minion_service_before_snapshot:
  salt.function:
    - name: service.disable
    - tgt: '{{ named }}'
    - tgt_type: glob
    - arg:
      - salt-minion
    - require:
      - salt: strip_{{ stripped|last }}_grain_from_edx_base_nodes

remove_master_key_from_minions:
  salt.function:
    - name: file.remove
    - tgt: '{{ named }}'
    - tgt_type: glob
    - arg:
      - ~/../minion/pki/minion/minion_master.pub
    - require:
      - salt: disable_minion_service_before_snapshot

{% for role, name in bases.items() %}
snapshot_{{ role }}_node:
  boto_ec2.snapshot_created:
    - name: {{ amis[role] }}
    - ami_name: {{ amis[role] }}
    - instance_name: {{ name }}
    - wait_until_available: False
    - require:
      - salt: remove_master_key_from_minions
{% endfor %}

update_release_version:
  salt.function:
    - name: sdb.set
    - tgt: 'roles:master'
    - tgt_type: grain
    - arg:
      - {{ release_key }}
      - '{{ release_number }}'
    - require:
{% for role in bases %}
      - boto_ec2: snapshot_{{ role }}_node
{% endfor %}
