# Stand-in for MITx's orchestrate.edx.backup: copies the databases of all purposes, on the master.
{% set ENVIRONMENT = salt.environ.get('ENVIRONMENT', 'mitx-production') %}
{% set VPC_NAME = salt.environ.get('VPC_NAME', 'MITx Production') %}
{% set folder = salt.config.get('sandbox:directory') %}
execute_enabled_backup_scripts:
  salt.function:
    - name: cmd.run
    - tgt: 'roles:master'
    - tgt_type: grain
    - arg:
      - "rm -rf {{ folder }}/backup && cp -r {{ folder }}/databases {{ folder }}/backup && echo '{{ ENVIRONMENT }} {{ VPC_NAME }}'"
