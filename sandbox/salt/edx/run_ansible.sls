# Stand-in for MITx's edx.run_ansible. As the original script, it runs one playbook after another, each piped into tee without pipefail,
# and goes on whatever Ansible says. Only the PLAY RECAPs tell.
{% set flags = salt.pillar.get('edx:ansible_flags', '') %}
{% set playbooks = salt.pillar.get('edx:playbooks', ['edx-east/edxapp.yml', 'edx-east/xqueue.yml', 'edx-east/forum.yml']) %}

run_ansible:
  cmd.run:
    - name: |
        mkdir -p ~/tmp/edx_config
        for playbook in {{ playbooks | join(' ') }}; do
            ansible-playbook $playbook {{ flags }} 2>&1 | tee -a ~/tmp/edx_config/ansible-log.txt
        done
