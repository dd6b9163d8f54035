// The Go service that hob is measured against: the routes of users-api that the benchmark asks for, with the libraries
// and the tuning that Go's own community recommends for speed.
package main

import (
	"context"
	"errors"
	"log"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/bradfitz/gomemcache/memcache"
	"github.com/jackc/pgx/v5/pgxpool"
)

const shutdownTime = 10 * time.Second

// LISTEN is host:port or a socket's path; DATABASE_URL takes pgxpool's own parameters (pool_max_conns); CACHE is a
// memcached's socket, none if empty; ACCESS_LOG=1 writes a line a request; PIPELINE=1 sends queries that need not wait
// for each other in one pgx.Batch.
func main() {
	if err := run(); err != nil {
		log.Fatal(err)
	}
}

func run() error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	pool, err := openPool(ctx, os.Getenv("DATABASE_URL"))
	if err != nil {
		return err
	}
	defer pool.Close()
	s := &service{
		db:    &store{pool: pool, pipeline: os.Getenv("PIPELINE") == "1"},
		cache: openCache(os.Getenv("CACHE")),
	}
	if os.Getenv("ACCESS_LOG") == "1" {
		s.accessLog = slog.New(slog.NewJSONHandler(os.Stderr, nil))
	}
	return serve(ctx, s.routes(), os.Getenv("LISTEN"))
}

func openPool(ctx context.Context, url string) (*pgxpool.Pool, error) {
	config, err := pgxpool.ParseConfig(url) // statements are prepared and cached unless told otherwise
	if err != nil {
		return nil, err
	}
	config.MinConns = config.MaxConns
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, err
	}
	return pool, pool.Ping(ctx)
}

func openCache(address string) *memcache.Client {
	if address == "" {
		return nil
	}
	client := memcache.New(address)
	client.MaxIdleConns = 512 // the default of 2 would open and close one for nearly every request
	client.Timeout = 100 * time.Millisecond
	return client
}

func serve(ctx context.Context, handler http.Handler, address string) error {
	network := "tcp"
	if strings.HasPrefix(address, "/") {
		network = "unix"
	}
	listener, err := net.Listen(network, address)
	if err != nil {
		return err
	}
	server := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      20 * time.Second,
		IdleTimeout:       60 * time.Second,
	}
	stopped := make(chan error, 1)
	go func() {
		<-ctx.Done()
		limit, cancel := context.WithTimeout(context.Background(), shutdownTime)
		defer cancel()
		stopped <- server.Shutdown(limit)
	}()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return <-stopped
}
