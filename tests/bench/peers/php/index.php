<?php
/* The PHP service that hob is measured against: plain functions, persistent connections, one file for OPcache. */
declare(strict_types=1);

const FLAGS = JSON_UNESCAPED_SLASHES | JSON_UNESCAPED_UNICODE | JSON_THROW_ON_ERROR;
const TITLES = [400 => 'Bad Request', 404 => 'Not Found', 405 => 'Method Not Allowed', 415 => 'Unsupported Media Type',
    422 => 'Unprocessable Content', 500 => 'Internal Server Error', 503 => 'Service Unavailable'];
const USER_COLUMNS = 'id, name, email, created_at, updated_at';
const ORDER_COLUMNS = 'id, user_id, total_cents, created_at';
const STATEMENTS = [
    'user_by_id' => 'SELECT ' . USER_COLUMNS . ' FROM users WHERE id = $1',
    'users_after' => 'SELECT ' . USER_COLUMNS . ' FROM users WHERE id > $1 ORDER BY id LIMIT $2',
    'order_by_id' => 'SELECT ' . ORDER_COLUMNS . ' FROM orders WHERE id = $1',
    'orders_of_user' => 'SELECT ' . ORDER_COLUMNS . ' FROM orders WHERE user_id = $1 AND id < $2'
        . ' ORDER BY id DESC LIMIT $3',
    'items_of_order' => 'SELECT sku, quantity, unit_price_cents FROM order_items WHERE order_id = $1 ORDER BY position',
    'totals_of_user' => 'SELECT count(*) AS orders, coalesce(sum(total_cents), 0)::bigint AS cents FROM orders'
        . ' WHERE user_id = $1',
    'insert_order' => 'INSERT INTO orders (user_id, total_cents) VALUES ($1, $2) RETURNING ' . ORDER_COLUMNS,
    'insert_items' => 'INSERT INTO order_items (order_id, position, sku, quantity, unit_price_cents)'
        . ' SELECT $1, position, sku, quantity, price'
        . ' FROM unnest($2::text[], $3::bigint[], $4::bigint[])'
        . ' WITH ORDINALITY AS item (sku, quantity, price, position)'
        . ' ORDER BY position RETURNING sku, quantity, unit_price_cents',
];

final class Problem extends Exception
{
    public function __construct(public int $status, string $detail, public array $errors = [])
    {
        parent::__construct($detail);
    }
}

function request_id(): string
{
    static $id = null;
    $given = $_SERVER['HTTP_X_REQUEST_ID'] ?? '';
    return $id ??= preg_match('/^[A-Za-z0-9._-]{1,64}$/D', $given) ? $given : bin2hex(random_bytes(16));
}

function answer(int $status, string $body, string $type = 'application/json'): void
{
    http_response_code($status);
    header('Content-Type: ' . $type);
    header('Content-Length: ' . strlen($body));
    header('X-Request-ID: ' . request_id());
    echo $body;
}

function answer_problem(int $status, string $detail, array $errors = []): void
{
    $problem = ['type' => 'about:blank', 'title' => TITLES[$status], 'status' => $status, 'detail' => $detail,
        'instance' => request_id()] + ($errors ? ['errors' => $errors] : []);
    answer($status, json_encode($problem, FLAGS), 'application/problem+json');
}

/* ---- Database and cache: connections outlive the request ---- */

function database(): PgSql\Connection
{
    static $connection = null;
    return $connection ??= pg_pconnect($_SERVER['DATABASE']) ?: throw new Problem(503, 'the database is unreachable');
}

final class NotPrepared extends Exception
{
}

final class UnknownUser extends Exception
{
}

function execute(string $name, array $parameters): PgSql\Result
{
    $result = @pg_execute(database(), $name, $parameters);
    if ($result !== false) {
        return $result;
    }
    $fault = pg_last_error(database());
    throw str_contains($fault, 'prepared statement') ? new NotPrepared($fault)
        : new (str_contains($fault, 'orders_user_id_fkey') ? UnknownUser::class : RuntimeException::class)($fault);
}

/* A kept connection has its statements already, except the first time: then the work is done again. */
function with_statements(callable $work): mixed
{
    try {
        return $work();
    } catch (NotPrepared) {
        $known = array_column(pg_fetch_all(pg_query(database(), 'SELECT name FROM pg_prepared_statements')), 'name');
        foreach (array_diff_key(STATEMENTS, array_flip($known)) as $name => $sql) {
            pg_prepare(database(), $name, $sql);
        }
        return $work();
    }
}

function query(string $name, array $parameters): array
{
    return with_statements(fn (): array => pg_fetch_all(execute($name, $parameters), PGSQL_ASSOC));
}

function transaction(callable $work): mixed
{
    return with_statements(function () use ($work): mixed {
        pg_query(database(), 'BEGIN');
        try {
            $made = $work();
        } catch (Throwable $failure) {
            pg_query(database(), 'ROLLBACK');
            throw $failure;
        }
        pg_query(database(), 'COMMIT');
        return $made;
    });
}

function cache(): ?Memcached
{
    static $cache = null;
    if ($cache === null && ($_SERVER['CACHE'] ?? '') !== '') {
        $cache = new Memcached('users-api');
        if (!$cache->getServerList()) {
            $cache->setOption(Memcached::OPT_COMPRESSION, false);
            $cache->addServer($_SERVER['CACHE'], 0);
        }
    }
    return $cache;
}

/* ---- Shapes ---- */

/* PostgreSQL's text, in the time zone UTC: "2024-01-01 00:17:03.25+00". */
function instant(string $text): string
{
    return substr($text, 0, 10) . 'T' . substr($text, 11, 8) . '.' . str_pad(substr($text, 20, -3), 6, '0') . 'Z';
}

function user(array $row): array
{
    return ['id' => (int) $row['id'], 'name' => $row['name'], 'email' => $row['email'],
        'created_at' => instant($row['created_at']), 'updated_at' => instant($row['updated_at'])];
}

function order(array $row): array
{
    return ['id' => (int) $row['id'], 'user_id' => (int) $row['user_id'], 'total_cents' => (int) $row['total_cents'],
        'created_at' => instant($row['created_at'])];
}

function item(array $row): array
{
    return ['sku' => $row['sku'], 'quantity' => (int) $row['quantity'],
        'unit_price_cents' => (int) $row['unit_price_cents']];
}

/* ---- Handlers ---- */

function number(string $name, int $absent, int $low, int $high): int
{
    $text = $_GET[$name] ?? '';
    $value = $text === '' ? $absent : filter_var($text, FILTER_VALIDATE_INT);
    if ($value === false || $text !== '' && ($value < $low || $value > $high)) {
        throw new Problem(400, "$name must be an integer from $low to $high");
    }
    return $value;
}

function list_users(): void
{
    $limit = number('limit', 20, 1, 100);
    $rows = query('users_after', [number('after', 0, 1, PHP_INT_MAX), $limit + 1]);
    $next = null;
    if (count($rows) > $limit) {
        array_pop($rows);
        $next = end($rows)['id'];
        header("Link: </api/v1/users?limit=$limit&after=$next>; rel=\"next\"");
    }
    answer(200, json_encode(['users' => array_map('user', $rows), 'next' => $next], FLAGS));
}

function load_user(int $id): string
{
    $rows = query('user_by_id', [$id]) ?: throw new Problem(404, "no user $id");
    return json_encode(user($rows[0]), FLAGS);
}

function get_user(int $id): void
{
    $cache = cache();
    $body = $cache?->get("php:user:$id");
    if (!is_string($body)) {
        $body = load_user($id);
        $cache?->set("php:user:$id", $body, 3600);
    }
    answer(200, $body);
}

function get_summary(int $id): void
{
    $users = query('user_by_id', [$id]) ?: throw new Problem(404, "no user $id");
    $orders = query('orders_of_user', [$id, PHP_INT_MAX, 10]);
    $totals = query('totals_of_user', [$id])[0];
    answer(200, json_encode(['user' => user($users[0]), 'orders' => array_map('order', $orders),
        'totals' => ['orders' => (int) $totals['orders'], 'cents' => (int) $totals['cents']]], FLAGS));
}

function get_order(int $id): void
{
    $rows = query('order_by_id', [$id]) ?: throw new Problem(404, "no order $id");
    answer(200, json_encode(order($rows[0]) + ['items' => array_map('item', query('items_of_order', [$id]))], FLAGS));
}

function body(): stdClass
{
    if (!preg_match('#^application/json(;\s*charset="?utf-8"?)?$#i', $_SERVER['CONTENT_TYPE'] ?? '')) {
        throw new Problem(415, 'the body must be application/json');
    }
    $body = json_decode(file_get_contents('php://input'), false, 32);
    if (json_last_error() !== JSON_ERROR_NONE) {
        throw new Problem(400, 'the body is not JSON: ' . json_last_error_msg());
    }
    return $body instanceof stdClass ? $body
        : throw new Problem(422, 'the body has faults', [['pointer' => '', 'detail' => 'must be an object']]);
}

function check_fields(mixed $object, array $checks, string $at): array
{
    if (!$object instanceof stdClass) {
        return [['pointer' => $at, 'detail' => 'must be an object']];
    }
    $faults = [];
    foreach ($checks as $name => [$good, $detail]) {
        if (!property_exists($object, $name)) {
            $faults[] = ['pointer' => "$at/$name", 'detail' => 'is required'];
        } elseif (!$good($object->$name)) {
            $faults[] = ['pointer' => "$at/$name", 'detail' => $detail];
        }
    }
    foreach (array_diff_key((array) $object, $checks) as $name => $_) {
        $faults[] = ['pointer' => "$at/$name", 'detail' => 'is not a known field'];
    }
    return $faults;
}

function whole(int $low, int $high): array
{
    return [fn (mixed $v): bool => is_int($v) && $v >= $low && $v <= $high, "must be an integer from $low to $high"];
}

function check_order(stdClass $body): array
{
    $list = [fn (mixed $v): bool => is_array($v) && count($v) >= 1 && count($v) <= 100, 'must have 1 to 100 elements'];
    $faults = check_fields($body, ['items' => $list], '');
    $fields = ['sku' => [fn (mixed $v): bool => is_string($v) && preg_match('/^[A-Za-z0-9._-]{1,64}$/D', $v) === 1,
        "must be 1 to 64 of A-Z, a-z, 0-9, '.', '_' and '-'"],
        'quantity' => whole(1, 10000), 'unit_price_cents' => whole(0, 100000000)];
    foreach ($faults ? [] : $body->items as $n => $item) {
        array_push($faults, ...check_fields($item, $fields, "/items/$n"));
    }
    return $faults;
}

function create_order(int $user): void
{
    $body = body();
    $faults = check_order($body);
    if ($faults) {
        throw new Problem(422, 'the body has faults', $faults);
    }
    $total = array_sum(array_map(fn ($i) => $i->quantity * $i->unit_price_cents, $body->items));
    $column = fn (string $name): string => '{' . implode(',', array_column($body->items, $name)) . '}';
    try {
        $order = transaction(function () use ($user, $total, $column): array {
            $head = order(pg_fetch_assoc(execute('insert_order', [$user, $total])));
            $columns = array_map($column, ['sku', 'quantity', 'unit_price_cents']);
            $lines = execute('insert_items', [$head['id'], ...$columns]);
            return $head + ['items' => array_map('item', pg_fetch_all($lines))];
        });
    } catch (UnknownUser) {
        throw new Problem(404, "no user $user");
    }
    header("Location: /api/v1/orders/{$order['id']}");
    answer(201, json_encode($order, FLAGS));
}

/* ---- Routes ---- */

function route(string $method, string $path): void
{
    if ($path === '/ping') {
        answer(200, '{"message":"pong"}');
    } elseif ($path === '/readyz') {
        database();
        answer(200, '{"status":"ready"}');
    } elseif ($path === '/api/v1/users') {
        list_users();
    } elseif (preg_match('#^/api/v1/(users|orders)/([1-9]\d{0,17})(/summary|/orders)?$#D', $path, $m)) {
        $id = (int) $m[2];
        match ($method . ' ' . $m[1] . ($m[3] ?? '')) {
            'GET users' => get_user($id),
            'GET users/summary' => get_summary($id),
            'POST users/orders' => create_order($id),
            'GET orders' => get_order($id),
            default => throw new Problem(405, 'not with this method'),
        };
    } else {
        throw new Problem(404, 'nothing is here');
    }
}

try {
    route($_SERVER['REQUEST_METHOD'], strstr($_SERVER['REQUEST_URI'] . '?', '?', true));
} catch (Problem $problem) {
    answer_problem($problem->status, $problem->getMessage(), $problem->errors);
} catch (Throwable $failure) {
    error_log((string) $failure);
    answer_problem(500, 'something went wrong');
}
