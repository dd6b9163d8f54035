// A user's day, for k6: looks around, looks at somebody, orders, looks at the order. Users come at a rate that rises,
// stays and falls, whether or not the earlier ones have been served.
import http from 'k6/http';
import { check } from 'k6';

const base = __ENV.BASE;
const peak = Number(__ENV.PEAK || 60); // users a second
const seconds = Number(__ENV.SECONDS || 20);
const requestsADay = 6;
const json = { headers: { 'Content-Type': 'application/json' } };

export const options = {
  discardResponseBodies: false,
  summaryTrendStats: ['med', 'p(90)', 'p(99)', 'max'],
  scenarios: {
    day: {
      executor: 'ramping-arrival-rate',
      startRate: 1,
      timeUnit: '1s',
      preAllocatedVUs: 50,
      maxVUs: 500,
      stages: [
        { target: peak, duration: `${seconds / 4}s` },
        { target: peak, duration: `${seconds / 2}s` },
        { target: 1, duration: `${seconds / 4}s` },
      ],
    },
  },
  thresholds: {
    http_req_failed: ['rate==0'],
    checks: ['rate==1'],
    dropped_iterations: ['count==0'],
    http_req_duration: ['p(99)<50'],
    http_reqs: [`rate>${0.9 * 0.75 * peak * requestsADay}`], // the average of a day is three quarters of its peak
  },
};

function get(path, name) {
  const answer = http.get(base + path, { tags: { name } });
  check(answer, { [name]: (r) => r.status === 200 });
  return answer;
}

export default function () {
  const user = 10001 + Math.floor(Math.random() * 10000);
  get('/ping', 'ping');
  get(`/api/v1/users?limit=20&after=${user}`, 'list');
  get(`/api/v1/users/${user}`, 'user');
  const items = [
    { sku: 'tea-50', quantity: 2, unit_price_cents: 999 },
    { sku: 'cup', quantity: 1, unit_price_cents: 450 },
  ];
  const made = http.post(`${base}/api/v1/users/${user}/orders`, JSON.stringify({ items }), {
    ...json,
    tags: { name: 'order' },
  });
  check(made, { order: (r) => r.status === 201 && r.json('total_cents') === 2448 });
  get(made.headers.Location || '/', 'the order');
  const all = get(`/api/v1/users/${user}/summary`, 'summary');
  check(all, { 'the order is in it': (r) => r.json('orders').some((o) => o.id === made.json('id')) });
}
