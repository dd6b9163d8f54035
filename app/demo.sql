-- Demo data: 1,000 users and 10,000 orders of 1 to 4 items, the same every time. Run it once, in one transaction
-- (psql -1). Ids are drawn from the tables' own sequences, so on an empty database they begin at 1.

INSERT INTO users (name, email, created_at, updated_at)
SELECT first || ' ' || last, lower(first || '.' || last) || n || '@example.com', at, at
FROM (
    SELECT
        n,
        (ARRAY['Ada', 'Alan', 'Barbara', 'Dennis', 'Edsger', 'Frances', 'Grace', 'Jean', 'John', 'Katherine',
               'Ken', 'Linus', 'Margaret', 'Niklaus', 'Radia', 'Tim'])[1 + n % 16] AS first,
        (ARRAY['Allen', 'Bartik', 'Berners', 'Dijkstra', 'Hamilton', 'Hopper', 'Johnson', 'Liskov', 'Lovelace',
               'McCarthy', 'Perlman', 'Ritchie', 'Thompson', 'Torvalds', 'Turing', 'Wirth', 'Knuth'])[1 + n % 17] AS last,
        timestamptz '2024-01-01 00:00:00Z' + n * interval '1 hour 7 minutes' AS at
    FROM generate_series(1, 1000) AS n
) AS person
ORDER BY n;

CREATE TEMPORARY TABLE demo_buyer ON COMMIT DROP AS
SELECT id, row_number() OVER (ORDER BY id) - 1 AS n FROM users;

CREATE TEMPORARY TABLE demo_order ON COMMIT DROP AS
SELECT
    nextval(pg_get_serial_sequence('orders', 'id')) AS id,
    n * 7919 % 1000 AS buyer,
    1 + n * 31 / 10 % 4 AS items,
    timestamptz '2024-03-01 00:00:00Z' + n * interval '53 minutes' AS at
FROM generate_series(1, 10000) AS n
ORDER BY n;

CREATE TEMPORARY TABLE demo_item ON COMMIT DROP AS
SELECT
    o.id AS order_id,
    p AS position,
    (ARRAY['tea-50', 'tea-100', 'kettle', 'cup', 'saucer', 'strainer', 'honey', 'biscuits'])[1 + (o.id * 5 + p * 3) % 8] AS sku,
    1 + (o.id + p) % 3 AS quantity,
    199 + (o.id * 37 + p * 101) % 4800 AS unit_price_cents
FROM demo_order AS o, generate_series(1, o.items) AS p;

INSERT INTO orders (id, user_id, total_cents, created_at) OVERRIDING SYSTEM VALUE
SELECT o.id, b.id, sum(i.quantity * i.unit_price_cents), o.at
FROM demo_order AS o
JOIN demo_buyer AS b ON b.n = o.buyer
JOIN demo_item AS i ON i.order_id = o.id
GROUP BY o.id, b.id, o.at
ORDER BY o.id;

INSERT INTO order_items (order_id, position, sku, quantity, unit_price_cents)
SELECT order_id, position, sku, quantity, unit_price_cents FROM demo_item ORDER BY order_id, position;

ANALYZE users, orders, order_items;
