# What MITx's own settings look like (environment_settings.yml of salt-ops, which MITx's pillar serves as `environments`).
# The package reads: business_unit, vpc_name, and of the purposes that mitx:environments:<environment>:purposes names
# their domains, versions:codename and instances. Everything else is none of its business, the purposes
# xqwatcher, mitx-cas, continuous-delivery and sandbox among it.
environments:
  mitx-qa:
    business_unit: residential
    vpc_name: MITx QA
    purposes:
      current-residential-live:
        domains: {lms: lms-qa.mitx.mit.edu, cms: studio-qa.mitx.mit.edu, preview: preview-qa.mitx.mit.edu, gitreload: prod-gr-qa.mitx.mit.edu}
        versions: {codename: juniper, edxapp: mitx/juniper, edx_platform_repo: https://github.com/mitodl/edx-platform}
        instances:
          edx: {number: 2, type: r5.xlarge}
          edx-worker: {number: 1, type: r5.large}
      current-residential-draft:
        domains: {lms: staging-qa.mitx.mit.edu, cms: studio-staging-qa.mitx.mit.edu, preview: preview-staging-qa.mitx.mit.edu, gitreload: gr-qa.mitx.mit.edu}
        versions: {codename: juniper, edxapp: mitx/juniper, edx_platform_repo: https://github.com/mitodl/edx-platform}
        instances:
          edx: {number: 1, type: r5.xlarge}
          edx-worker: {number: 1, type: r5.large}
      next-residential-live:
        domains: {lms: lms-next-qa.mitx.mit.edu, cms: studio-next-qa.mitx.mit.edu, preview: preview-next-qa.mitx.mit.edu, gitreload: prod-gr-next-qa.mitx.mit.edu}
        versions: {codename: koa, edxapp: mitx/koa, edx_platform_repo: https://github.com/mitodl/edx-platform}
        instances:
          edx: {number: 2, type: r5.xlarge}
          edx-worker: {number: 1, type: r5.large}
      next-residential-draft:
        domains: {lms: staging-next-qa.mitx.mit.edu, cms: studio-staging-next-qa.mitx.mit.edu, preview: preview-staging-next-qa.mitx.mit.edu, gitreload: gr-next-qa.mitx.mit.edu}
        versions: {codename: koa, edxapp: mitx/koa, edx_platform_repo: https://github.com/mitodl/edx-platform}
        instances:
          edx: {number: 1, type: r5.xlarge}
          edx-worker: {number: 1, type: r5.large}
      # Of the same shape, and still not ours: a run names its purposes.
      continuous-delivery:
        domains: {lms: lms-cd.mitx.mit.edu, cms: studio-cd.mitx.mit.edu, preview: preview-cd.mitx.mit.edu, gitreload: gr-cd.mitx.mit.edu}
        versions: {codename: master, edxapp: master, edx_platform_repo: https://github.com/mitodl/edx-platform}
        instances:
          edx: {number: 1, type: r5.large}
          edx-worker: {number: 1, type: r5.large}
      # Of other shapes.
      xqwatcher:
        versions: {xqwatcher: master}
        instances: {xqwatcher: {number: 1, type: t3.small}}
      mitx-cas:
        domains: [auth-qa.mitx.mit.edu]
        app: cas
  mitx-production:
    business_unit: residential
    vpc_name: MITx Production
    purposes:
      residential-live:
        domains: {lms: lms.mitx.mit.edu, cms: studio.mitx.mit.edu, preview: preview.mitx.mit.edu, gitreload: prod-gr.mitx.mit.edu}
        versions: {codename: koa, edxapp: mitx/koa, edx_platform_repo: https://github.com/mitodl/edx-platform}
        instances:
          edx: {number: 18, type: r5.xlarge}
          edx-worker: {number: 6, type: r5.large}
      residential-draft:
        domains: {lms: staging.mitx.mit.edu, cms: studio-staging.mitx.mit.edu, preview: preview-staging.mitx.mit.edu, gitreload: gr.mitx.mit.edu}
        versions: {codename: koa, edxapp: mitx/koa, edx_platform_repo: https://github.com/mitodl/edx-platform}
        instances:
          edx: {number: 3, type: r5.xlarge}
          edx-worker: {number: 3, type: r5.large}
      sandbox:
        domains: {lms: lms-sandbox.mitx.mit.edu, cms: studio-sandbox.mitx.mit.edu, preview: preview-sandbox.mitx.mit.edu, gitreload: gr-sandbox.mitx.mit.edu}
        versions: {codename: koa, edxapp: mitx/koa, edx_platform_repo: https://github.com/mitodl/edx-platform}
        instances:
          edx: {number: 1, type: r5.large}
          edx-worker: {number: 1, type: r5.large}
      mitx-cas:
        domains: [auth.mitx.mit.edu]
        app: cas
