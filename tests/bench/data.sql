-- The benchmark's data, the same every time: users 1-20,000, ten orders of one to four items for each of the first
-- 10,000, which are read; the others place the orders that are written. Run it once on an empty database (psql -1).

INSERT INTO users (name, email, created_at, updated_at)
SELECT
    (ARRAY['Ada', 'Barbara', 'Dennis', 'Edsger', 'Frances', 'Grace', 'Katherine', 'Niklaus'])[1 + n % 8]
        || ' ' || (ARRAY['Allen', 'Dijkstra', 'Hamilton', 'Hopper', 'Liskov', 'Ritchie', 'Wirth'])[1 + n % 7],
    'user' || n || '@example.com',
    timestamptz '2024-01-01 00:00:00Z' + n * interval '17 minutes 3.25 seconds',
    timestamptz '2024-06-01 00:00:00Z' + n * interval '11 minutes 1.5 seconds'
FROM generate_series(1, 20000) AS n
ORDER BY n;

INSERT INTO orders (user_id, total_cents, created_at)
SELECT 1 + n * 7919 % 10000, 199 + n * 37 % 9000, timestamptz '2024-09-01 00:00:00Z' + n * interval '97 seconds'
FROM generate_series(1, 100000) AS n
ORDER BY n;

INSERT INTO order_items (order_id, position, sku, quantity, unit_price_cents)
SELECT
    o.id, p, (ARRAY['tea-50', 'tea-100', 'kettle', 'cup', 'saucer', 'honey'])[1 + (o.id + p) % 6], 1 + (o.id + p) % 3,
    199 + (o.id * 37 + p * 101) % 4800
FROM orders AS o, generate_series(1, 1 + o.id % 4) AS p
ORDER BY o.id, p;

-- For all peers: a list's LIMIT is a parameter, and PostgreSQL, not knowing how few rows it means, would plan anew for
-- each request.
ALTER DATABASE users_api SET plan_cache_mode = force_generic_plan;
