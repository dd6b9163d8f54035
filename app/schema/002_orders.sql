CREATE TABLE orders (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id bigint NOT NULL,
    total_cents bigint NOT NULL CONSTRAINT orders_total_cents_check CHECK (total_cents >= 0),
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT orders_user_id_fkey FOREIGN KEY (user_id) REFERENCES users (id)
);

-- A user's orders, newest first; also what the foreign key looks up when a user is deleted.
CREATE INDEX orders_user_id_id_idx ON orders (user_id, id DESC);

CREATE TABLE order_items (
    order_id bigint NOT NULL,
    position integer NOT NULL CONSTRAINT order_items_position_check CHECK (position >= 0),
    sku text NOT NULL CONSTRAINT order_items_sku_check CHECK (sku ~ '^[A-Za-z0-9._-]{1,64}$'),
    quantity integer NOT NULL CONSTRAINT order_items_quantity_check CHECK (quantity BETWEEN 1 AND 10000),
    unit_price_cents bigint NOT NULL
        CONSTRAINT order_items_unit_price_cents_check CHECK (unit_price_cents BETWEEN 0 AND 100000000),
    PRIMARY KEY (order_id, position),
    CONSTRAINT order_items_order_id_fkey FOREIGN KEY (order_id) REFERENCES orders (id) ON DELETE CASCADE
);
