# Stand-in for MITx's orchestrate.edx.restore: puts back what backup copied. Like that, it restores only where RESTORE is set.
{% set ENVIRONMENT = salt.environ.get('ENVIRONMENT', 'mitx-qa') %}
{% set RESTORE = salt.environ.get('RESTORE', False) %}
{% set folder = salt.config.get('sandbox:directory') %}
format_and_mount_backup_drive:
  salt.function:
    - name: test.ping
    - tgt: 'roles:master'
    - tgt_type: grain
{% if RESTORE %}
execute_enabled_restore_scripts:
  salt.function:
    - name: cmd.run
    - tgt: 'roles:master'
    - tgt_type: grain
    - arg:
      - "cp {{ folder }}/backup/* {{ folder }}/databases/ && echo '{{ ENVIRONMENT }}'"
    - require:
      - salt: format_and_mount_backup_drive
{% endif %}
