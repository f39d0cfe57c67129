# The whole upgrade, for a rehearsal or to go on wherever it stopped. The old fleet is kept: `salt-run mitx.retire`, later.
include:
  - orchestrate.mitx.prepare
  - orchestrate.mitx.window
