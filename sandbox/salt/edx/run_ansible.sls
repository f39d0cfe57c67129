# Stand-in for MITx's edx.run_ansible. As the original script, it pipes Ansible into tee without pipefail: whatever
# Ansible says, this succeeds. Only the PLAY RECAP in the log tells.
{% set flags = salt.pillar.get('edx:ansible_flags', '') %}

run_ansible:
  cmd.run:
    - name: mkdir -p ~/tmp/edx_config && ansible-playbook edx-{{ salt.grains.get('environment') }}.yml {{ flags }} 2>&1 | tee -a ~/tmp/edx_config/ansible-log.txt
