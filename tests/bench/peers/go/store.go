package main

import (
	"context"
	"errors"
	"math"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"
)

var errNotFound = errors.New("not found")

type store struct {
	pool     *pgxpool.Pool
	pipeline bool
}

// timestamp is RFC 3339 in UTC with microseconds; as a string kind sonic encodes it without a call to a marshaler.
type timestamp string

func (t *timestamp) ScanTimestamptz(v pgtype.Timestamptz) error {
	var text [32]byte
	*t = timestamp(v.Time.UTC().AppendFormat(text[:0], "2006-01-02T15:04:05.000000Z"))
	return nil
}

type user struct {
	ID        int64     `json:"id"`
	Name      string    `json:"name"`
	Email     string    `json:"email"`
	CreatedAt timestamp `json:"created_at"`
	UpdatedAt timestamp `json:"updated_at"`
}

type order struct {
	ID         int64     `json:"id"`
	UserID     int64     `json:"user_id"`
	TotalCents int64     `json:"total_cents"`
	CreatedAt  timestamp `json:"created_at"`
}

type item struct {
	SKU            string `json:"sku"`
	Quantity       int64  `json:"quantity"`
	UnitPriceCents int64  `json:"unit_price_cents"`
}

type orderWithItems struct {
	order
	Items []item `json:"items"`
}

type totals struct {
	Orders int64 `json:"orders"`
	Cents  int64 `json:"cents"`
}

type summary struct {
	User   user    `json:"user"`
	Orders []order `json:"orders"`
	Totals totals  `json:"totals"`
}

const (
	userColumns  = "id, name, email, created_at, updated_at"
	orderColumns = "id, user_id, total_cents, created_at"

	userByID     = "SELECT " + userColumns + " FROM users WHERE id = $1"
	usersAfter   = "SELECT " + userColumns + " FROM users WHERE id > $1 ORDER BY id LIMIT $2"
	orderByID    = "SELECT " + orderColumns + " FROM orders WHERE id = $1"
	ordersOfUser = "SELECT " + orderColumns + " FROM orders WHERE user_id = $1 AND id < $2 ORDER BY id DESC LIMIT $3"
	itemsOfOrder = "SELECT sku, quantity::bigint, unit_price_cents FROM order_items WHERE order_id = $1 ORDER BY position"
	totalsOfUser = "SELECT count(*) AS orders, coalesce(sum(total_cents), 0)::bigint AS cents" +
		" FROM orders WHERE user_id = $1"
	insertOrder = "INSERT INTO orders (user_id, total_cents) VALUES ($1, $2) RETURNING " + orderColumns
	insertItems = "INSERT INTO order_items (order_id, position, sku, quantity, unit_price_cents)" +
		" SELECT $1, position, sku, quantity, price" +
		" FROM unnest($2::text[], $3::bigint[], $4::bigint[]) WITH ORDINALITY AS item (sku, quantity, price, position)" +
		" ORDER BY position RETURNING sku, quantity::bigint, unit_price_cents"
	newest = 10
)

func scanUser(row pgx.Row, u *user) error {
	return orNotFound(row.Scan(&u.ID, &u.Name, &u.Email, &u.CreatedAt, &u.UpdatedAt))
}

func scanOrder(row pgx.Row, o *order) error {
	return orNotFound(row.Scan(&o.ID, &o.UserID, &o.TotalCents, &o.CreatedAt))
}

func scanItem(row pgx.Row, i *item) error {
	return row.Scan(&i.SKU, &i.Quantity, &i.UnitPriceCents)
}

func scanTotals(row pgx.Row, t *totals) error {
	return row.Scan(&t.Orders, &t.Cents)
}

func orNotFound(err error) error {
	if errors.Is(err, pgx.ErrNoRows) {
		return errNotFound
	}
	return err
}

func collect[T any](rows pgx.Rows, expected int, scan func(pgx.Row, *T) error) ([]T, error) {
	defer rows.Close()
	list := make([]T, 0, expected)
	for rows.Next() {
		var zero T
		list = append(list, zero)
		if err := scan(rows, &list[len(list)-1]); err != nil {
			return nil, err
		}
	}
	return list, rows.Err()
}

func (s *store) user(ctx context.Context, id int64) (u user, err error) {
	err = scanUser(s.pool.QueryRow(ctx, userByID, id), &u)
	return u, err
}

func (s *store) users(ctx context.Context, after, limit int64) ([]user, error) {
	rows, err := s.pool.Query(ctx, usersAfter, after, limit)
	if err != nil {
		return nil, err
	}
	return collect(rows, int(limit), scanUser)
}

func (s *store) order(ctx context.Context, id int64) (o orderWithItems, err error) {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return scanOrder(s.pool.QueryRow(ctx, orderByID, id), &o.order) })
	group.Go(func() error {
		rows, err := s.pool.Query(ctx, itemsOfOrder, id)
		if err == nil {
			o.Items, err = collect(rows, 4, scanItem)
		}
		return err
	})
	return o, group.Wait()
}

// The three look-ups run at the same time, each on a connection of its own.
func (s *store) summary(ctx context.Context, id int64) (*summary, error) {
	if s.pipeline {
		return s.summaryPipelined(ctx, id)
	}
	var all summary
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return scanUser(s.pool.QueryRow(ctx, userByID, id), &all.User) })
	group.Go(func() error {
		rows, err := s.pool.Query(ctx, ordersOfUser, id, int64(math.MaxInt64), newest)
		if err == nil {
			all.Orders, err = collect(rows, newest, scanOrder)
		}
		return err
	})
	group.Go(func() error { return scanTotals(s.pool.QueryRow(ctx, totalsOfUser, id), &all.Totals) })
	return &all, group.Wait()
}

// One round trip on one connection.
func (s *store) summaryPipelined(ctx context.Context, id int64) (*summary, error) {
	var all summary
	var batch pgx.Batch
	batch.Queue(userByID, id)
	batch.Queue(ordersOfUser, id, int64(math.MaxInt64), newest)
	batch.Queue(totalsOfUser, id)
	results := s.pool.SendBatch(ctx, &batch)
	defer results.Close()
	if err := scanUser(results.QueryRow(), &all.User); err != nil {
		return nil, err
	}
	rows, err := results.Query()
	if err != nil {
		return nil, err
	}
	if all.Orders, err = collect(rows, newest, scanOrder); err != nil {
		return nil, err
	}
	return &all, scanTotals(results.QueryRow(), &all.Totals)
}

func columns(items []item) (skus []string, quantities, prices []int64, total int64) {
	skus, quantities, prices = make([]string, len(items)), make([]int64, len(items)), make([]int64, len(items))
	for i, item := range items {
		skus[i], quantities[i], prices[i] = item.SKU, item.Quantity, item.UnitPriceCents
		total += item.Quantity * item.UnitPriceCents
	}
	return skus, quantities, prices, total
}

func (s *store) createOrder(ctx context.Context, userID int64, items []item) (*orderWithItems, error) {
	if s.pipeline {
		return s.createOrderPipelined(ctx, userID, items)
	}
	skus, quantities, prices, total := columns(items)
	var o orderWithItems
	err := pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		if err := scanOrder(tx.QueryRow(ctx, insertOrder, userID, total), &o.order); err != nil {
			return err
		}
		rows, err := tx.Query(ctx, insertItems, o.ID, skus, quantities, prices)
		if err == nil {
			o.Items, err = collect(rows, len(items), scanItem)
		}
		return err
	})
	return &o, err
}

// BEGIN travels with the first statement, and COMMIT after the second was seen to be good.
func (s *store) createOrderPipelined(ctx context.Context, userID int64, items []item) (*orderWithItems, error) {
	skus, quantities, prices, total := columns(items)
	var o orderWithItems
	err := s.pool.AcquireFunc(ctx, func(conn *pgxpool.Conn) error {
		var first pgx.Batch
		first.Queue("BEGIN")
		first.Queue(insertOrder, userID, total)
		results := conn.SendBatch(ctx, &first)
		_, err := results.Exec()
		if err == nil {
			err = scanOrder(results.QueryRow(), &o.order)
		}
		if closeErr := results.Close(); err == nil {
			err = closeErr
		}
		if err == nil {
			var rows pgx.Rows
			if rows, err = conn.Query(ctx, insertItems, o.ID, skus, quantities, prices); err == nil {
				o.Items, err = collect(rows, len(items), scanItem)
			}
		}
		if err != nil {
			_, _ = conn.Exec(context.WithoutCancel(ctx), "ROLLBACK")
			return err
		}
		_, err = conn.Exec(ctx, "COMMIT")
		return err
	})
	return &o, err
}
