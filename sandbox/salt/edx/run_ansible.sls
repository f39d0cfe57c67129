# Stand-in for MITx's edx.run_ansible. As the original script, it runs one playbook after another, each piped into tee without pipefail,
# and goes on whatever Ansible says. Only the PLAY RECAPs tell.
{% set flags = salt.pillar.get('edx:ansible_flags', '') %}
{% set playbooks = ['edxapp', 'xqueue', 'forum'] if 'edx' in salt.grains.get('roles', []) else ['edxapp'] %}

run_ansible:
  cmd.run:
    - name: |
        mkdir -p ~/tmp/edx_config
        for playbook in {{ playbooks | join(' ') }}; do
            ansible-playbook $playbook.yml {{ flags }} 2>&1 | tee -a ~/tmp/edx_config/ansible-log.txt
        done
