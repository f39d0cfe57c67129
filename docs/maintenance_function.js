// CloudFront function (runtime cloudfront-js-2.0) on the *viewer request* of the maintenance distribution: 503 with
// Retry-After, whatever is asked for. It is set up once; the page itself is published to the bucket by salt-run.

// A page that a browser asks for comes from the bucket, with its times. Set this to false only if the distribution's
// responses to GET lack Retry-After (salt-run mitx.maintenance status, point "answers"): browsers then get the short text
// below as well.
var PAGE_FROM_BUCKET = true;
var RETRY_AFTER = '300';
var TEXT =
  '<!doctype html><html lang="en" data-mitx-maintenance="function"><meta charset="utf-8"><title>Down for maintenance</title>' +
  '<h1>Down for maintenance</h1><p>Please try again later.</p></html>';

function handler(event) {
  var request = event.request;
  if (PAGE_FROM_BUCKET && (request.method === 'GET' || request.method === 'HEAD')) {
    // One path that is not in the bucket, for all: S3 refuses it, and the error response makes it 503 with the page.
    // Without this /index.html itself would answer 200.
    request.uri = '/maintenance';
    request.querystring = {};
    return request;
  }
  return {
    statusCode: 503,
    statusDescription: 'Service Unavailable',
    headers: {
      'content-type': { value: 'text/html; charset=utf-8' },
      'cache-control': { value: 'no-store' },
      'retry-after': { value: RETRY_AFTER },
    },
    body: { encoding: 'text', data: TEXT },
  };
}
