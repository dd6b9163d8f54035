CREATE TABLE users (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL,
    email text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT users_name_check CHECK (char_length(name) BETWEEN 1 AND 100 AND name !~ '[\u0001-\u001f\u007f]'),
    CONSTRAINT users_email_check CHECK (
        char_length(email) BETWEEN 3 AND 254 AND email ~ '^[^@\u0001-\u0020\u007f]+@[^@\u0001-\u0020\u007f]+$'
    )
);

CREATE UNIQUE INDEX users_email_key ON users (lower(email));
