# Stand-in for MITx's orchestrate.edx.update_edxapp_ami_sdb: writes the AMIs' ids to SDB, destroys the base instances.
# Takes an image of the right name whatever its state; fails while this renders (index error) when there is none.
{% set ENVIRONMENT = salt.environ.get('ENVIRONMENT', 'mitx-qa') %}
{% set codename = salt.sdb.get('sdb://consul/edx_codename') %}
{% set release_number = salt.sdb.get('sdb://consul/edxapp-{}-{}-release-version'.format(ENVIRONMENT, codename)) %}
{% set images = {
  'edx': salt.boto_ec2.find_images(ami_name='edxapp_{}_{}_base_release_{}'.format(ENVIRONMENT, codename, release_number))[0],
  'edx_worker': salt.boto_ec2.find_images(ami_name='edx_worker_{}_{}_base_release_{}'.format(ENVIRONMENT, codename, release_number))[0],
} %}

{% for kind, image in images.items() %}
update_{{ kind }}_ami_value:
  salt.function:
    - name: sdb.set
    - tgt: 'roles:master'
    - tgt_type: grain
    - arg:
      - sdb://consul/{{ kind }}_{{ ENVIRONMENT }}_{{ codename }}_ami_id
      - {{ image }}
{% endfor %}

destroy_edx_base_instances:
  salt.function:
    - name: cloud.destroy
    - tgt: 'roles:master'
    - tgt_type: grain
    - arg:
      - [edxapp-{{ ENVIRONMENT }}-{{ codename }}-base, edx-worker-{{ ENVIRONMENT }}-{{ codename }}-base]
    - require:
{% for kind in images %}
      - salt: update_{{ kind }}_ami_value
{% endfor %}
