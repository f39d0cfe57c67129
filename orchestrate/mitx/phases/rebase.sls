# Production's AMIs are built from QA's, nothing is checked out there: QA's release is proven instead.
{% set settings = salt.mitx_run.get_settings() %}
release:
  mitx_release.{{ 'proven' if settings.release.from else 'rebased' }}: []
