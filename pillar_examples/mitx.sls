# Everything this package reads, beside MITx's own settings (environments.sls). The pillar top file serves both to the
# master's own pillar: the orchestrations run with that of the id `<master id>_master`, the runner functions too.
#
# What holds everywhere goes below `defaults`; what differs below `environments:<environment>`; what is said once, on the
# command line, straight below `mitx`:  pillar='{mitx: {window: {force: true}}}'
mitx:
  # The environment this master upgrades when the command names none.
  environment: mitx-qa
  # Where the records of the runs are kept. Writable for the user that runs the master.
  run_dir: /var/lib/mitx
  # Where MITx's settings come from when not from pillar `environments`: a URL or path of the YAML file. Best the very one that
  # the existing orchestrations read; if it changes between two steps of a night, the run stops and says so.
  # environments_source: https://raw.githubusercontent.com/mitodl/salt-ops/main/salt/environment_settings.yml

  defaults:
    aws:
      region: us-east-1          # where the instances and load balancers are
      # profile: mitx            # as Salt's boto modules take it; or keyid and key; else botocore's own chain (instance role, ~/.aws)
      # keyid: …                 # instead of a profile; with `key`
      # key: …                   # the secret key of `keyid`
      # token: …                 # the session token of temporary credentials
      # endpoint_url:            # another endpoint than AWS
      attempts: 8                # tries of each call, botocore's standard retries
      read_timeout: 60           # seconds

    dns:
      zone: mitx.mit.edu.        # the hosted zone that holds the host names
      ttl: 60                    # the highest TTL (s) a record may have when it is switched; `announce` lowers a higher one
      timeout: 300               # s until Route 53 must say INSYNC
      public_timeout: 300        # s after that until every resolver and visitor must see it
      interval: 5                # s between two looks

    maintenance:
      name: Residential MITx         # what is down: on the page and in the 3down request
      domains: [lms, cms, preview]   # which host names of a purpose go to the page; gitreload does not
      bucket: upgrading.mitx.mit.edu # the bucket that CloudFront takes the page from
      key: index.html                # the object that is the page
      # template: salt://mitx/maintenance.html.jinja    # a page of one's own; see docs/maintenance.md
      # note: Everything that was submitted is kept. News is at https://3down.mit.edu    # a sentence of one's own on the page
      marker: data-mitx-maintenance  # the text that tells the page from the site
      invalidation_timeout: 60       # s to wait for CloudFront; a slow invalidation never fails the window
      distribution:
        id: E2EXAMPLE0MITX           # the CloudFront distribution that shows the page
        domain_name: d111111abcdef8.cloudfront.net   # its host name: where the records lead while the page is up

    announce:
      # The 3down request is mailed where a server and a recipient are given; else its text is printed.
      # smtp: {host: outgoing.mit.edu, port: 587, tls: true, user: mitx-devops, password: …}
      sender: mitx-devops@mit.edu    # who asks
      to: []                         # 3down's address, or several

    release:
      # branch: mitx/koa                    # default: mitx/<codename>
      # onto: open-release/koa.master       # branch or tag of edX's; default: open-release/<codename>.master
      # from: mitx-qa                       # the environment whose images are used: no rebase and no checkout here
      upstream: https://github.com/edx/edx-platform.git    # edX's repository; it is only read
      origin: https://github.com/mitodl/edx-platform.git   # MIT's repository, where the branch and its backups are pushed
      mirror: /var/lib/mitx/git/edx-platform.git   # bare, made at the first use; owned by the user that runs git
      protocols: [https, ssh]             # what the two repositories may be reached by: https, ssh, http, file
      # runas: mitx                         # a user without a home is fine
      # credentials: {token: …}             # or {username: …, password: …}, or {ssh_key: /path, known_hosts: /path}; never in a command line or log
      # sha: …                              # with `from`: that environment's commit, where it has a master of its own
      committer: {name: MITx release, email: mitx-release@mit.edu}   # fixed, so that a rerun gives the same shas
      flatten: false                        # true: a merge commit's own edits become a patch; else such a commit stops the rebase
      # signing_key: /path                  # sign the rebased commits: a path is an ssh key, anything else a GPG key id
      timeout: 900                          # s for one git command

    build:
      run_migrations: false      # RUN_MIGRATIONS of build_ami; refused while a fleet serves those purposes
      # purpose: next-residential-draft    # PURPOSE of build_ami; default: the draft one

    images:
      timeout: 3600              # s until both AMIs must be available
      interval: 15               # s between two looks

    services:
      supervisorctl: /edx/bin/supervisorctl        # of the hosts
      user: edxapp               # whom commands run as; null: the minion's own user
      platform: /edx/app/edxapp/edx-platform       # the checkout of edx-platform on the hosts
      ansible_log: /tmp/edx_config/ansible-log.txt # where edx.run_ansible logs on them
      systemd:                   # services beside supervisor's programs, by role
        edx: [gitreload]
        edx-worker: []
      playbooks:                 # what edx.run_ansible plays on a host, in its order: each must end with a clean PLAY RECAP
        edx: [edxapp, xqueue, forum]
        edx-worker: [edxapp]
      oneshot: []                # supervisor's programs that end on purpose: EXITED is right for them
      # Keeps new workers from the queues while `deploy` goes on: without it they work live jobs until it has ended. Both can be run twice.
      hold:
        # Cuts a new worker's host off from the queues, as the minion's user. RabbitMQ's port, here.
        begin: iptables -C OUTPUT -p tcp --dport 5672 -j REJECT 2>/dev/null || iptables -I OUTPUT -p tcp --dport 5672 -j REJECT
        # Lets it go again.
        end: while iptables -D OUTPUT -p tcp --dport 5672 -j REJECT 2>/dev/null; do :; done
      timeout: 120               # s until processes must have stopped or started

    smoke:
      states: []                 # applied to every new host in the phase smoke; MITx: [edx.tests]
      timeout: 900               # s for them

    drain:
      # Prints how many jobs wait; run on one worker of each purpose, as services:user. Without it nobody can tell, so `waive` must be said.
      # The script comes with this package: state orchestrate.mitx.queue_depth installs it.
      # command: /edx/app/edxapp/venvs/edxapp/bin/python /usr/local/bin/mitx-queue-depth
      timeout: 900               # s for the queues to be empty
      interval: 5                # s between two looks
      waive: false               # true: go on at the deadline; the depth is recorded

    rollback:
      # restore: orchestrate.edx.restore    # for `salt-run mitx.rollback restore=True`, with the variables of the four and these
      variables: {RESTORE: '1'}             # in its environment, besides

    migrate:
      # before: orchestrate.edx.backup      # runs first, once, while nothing runs on the databases
      snapshot_required: false   # true: `snapshot_id` must be said, and is recorded
      # snapshot_id: rds:before-koa   # the snapshot of the databases that was taken by hand
      # What prints the migrations that are not applied yet, one a line, or all as `showmigrations --plan` does. A command below that
      # has the name of a list is left out when the list is empty. Run in services:platform, like the commands.
      pending:
        lms: >-
          /edx/app/edxapp/venvs/edxapp/bin/python manage.py lms showmigrations --plan --settings=production
        cms: >-
          /edx/app/edxapp/venvs/edxapp/bin/python manage.py cms showmigrations --plan --settings=production
        student_module_history: >-
          /edx/app/edxapp/venvs/edxapp/bin/python manage.py lms showmigrations --plan --database student_module_history --settings=production
      # What applies them: in this order, on one new instance of each purpose, as services:user in services:platform.
      commands:
        - name: lms
          command: /edx/app/edxapp/venvs/edxapp/bin/python manage.py lms migrate --noinput --fake-initial --settings=production
        - name: cms
          command: /edx/app/edxapp/venvs/edxapp/bin/python manage.py cms migrate --noinput --fake-initial --settings=production
        - name: student_module_history
          command: >-
            /edx/app/edxapp/venvs/edxapp/bin/python manage.py lms migrate --noinput --fake-initial
            --database student_module_history --settings=production
      timeout: 3600              # s for one command

    checks:
      heartbeat: /heartbeat      # the path that every instance and every site must answer
      paths: []                  # more that must answer, through the ELB: [{path: /login, status: 200, text: Sign in}]
      scheme: https              # https or http, as visitors ask
      port: 443                  # at which they ask
      # ca_bundle: /etc/ssl/certs/ca-certificates.crt    # whom to trust; default: this machine's own
      resolvers: []              # host or host:port; must all have seen a switch. Empty: this machine's own
      authoritative: []          # host or host:port of the zone's own servers. Empty: those that its NS records name
      timeout: 120               # s until every check must have passed
      interval: 2                # s between two looks
      instance:
        scheme: https            # https or http, as a single instance answers, beside its load balancer
        port: 443                # at which it answers
      watch: 60                  # s for which the site is watched after `open`

    elb:
      polls: 3                   # so many looks in a row must find every new instance InService
      interval: 5                # s between two looks
      # timeout: 300             # s until they must be InService; default: from the load balancer's own health check
      # drain_timeout: 300       # s until connections must have ended; default: from the load balancer's own attributes

    attach:
      without_existing: false    # true: register by ourselves when orchestrate.aws.mitx_elb cannot be rendered

    gate:
      required: true             # a human looks at the site and says `salt-run mitx.approve`, before DNS goes back
      timeout: 3600              # s the window waits for that; then it stops, and the same command goes on
      before_window: false       # true: `close` refuses unless somebody has said `salt-run mitx.approve gate=close`, to these very facts

    # notify:                    # with the master's reactor, pillar_examples/reactor.conf
    #   chat:
    #     webhook: https://hooks.slack.com/services/…   # an incoming webhook, Slack's say
    #   downtime:
    #     url: https://api.datadoghq.com                # the monitoring's API, Datadog's
    #     api_key: …                                    # its key
    #     application_key: …                            # and the application's
    #     scope: environment:mitx-qa                    # whom the downtime is for

    rehearsal:
      required: false            # true: `close` refuses a commit that has not gone through `open` there
      # environment: mitx-qa     # where the upgrade is rehearsed
      days: 30                   # in the last so many days

    retire:
      after: 48                  # hours the old fleet is kept after `open`
      timeout: 600               # s until they must be gone
      # Old hosts hold students' tracking logs: a state that saves them, on exactly these hosts (an orchestration gets them as pillar mitx:retire_hosts).
      before: backups.backup_tracking
      # Where an object for each host must lie afterwards, not empty and newer than its services' end.
      proof:
        bucket: odl-residential-tracking-backup   # the bucket
        key: tracking/{name}/                     # what the key begins with; there are {name}, {id}, {role}, {purpose}
      # nothing_to_save: true    # instead of both; it is recorded

    timeouts:
      minions: 60                # s for minions to answer
      highstate: 7200            # s for a highstate
      existing: 14400            # s for one of MITx's own orchestrations

  environments:
    mitx-qa:
      purposes: [next-residential-draft, next-residential-live]   # whose fleets are upgraded together
      dns:
        zone_id: Z0EXAMPLEQA              # the public zone, should there be a private one of the same name
      aws:
        account: '123456789012'           # the account that must be meant, in quotes
      window:
        start: 2026-12-20 21:00           # quoted or not; without a zone of its own, in `timezone`
        timezone: America/New_York        # the zone of `start`, and of every time that is told
        hours: 4                          # how long it may take
        # force: true                     # on the command line: begin outside of the window
        reason: we perform routine upgrades   # on the page, and for 3down
        contact: mitx-support@mit.edu     # on the page, and for 3down
        pause_schedule: []                # jobs of the master's Salt schedule that are held from `close` to `open`
    mitx-production:
      purposes: [residential-draft, residential-live]
      dns: {zone_id: Z0EXAMPLEPROD}
      aws: {account: '123456789012'}
      window:
        start: '2027-01-10 21:00'
        timezone: America/New_York
        hours: 6
        reason: we perform routine upgrades
        contact: mitx-support@mit.edu
        pause_schedule: [backup_edx_rp_data]
      # Production's AMIs are built from QA's: no rebase, no checkout; the run proves QA's release instead.
      release: {from: mitx-qa}
