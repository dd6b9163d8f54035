package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"strconv"

	"github.com/bradfitz/gomemcache/memcache"
	"github.com/bytedance/sonic/encoder"
	"github.com/go-chi/chi/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

const (
	cacheSeconds = 3600
	defaultLimit = 20
	maxLimit     = 100
)

type userPage struct {
	Users []user  `json:"users"`
	Next  *string `json:"next"`
}

// pathID is 0 where no positive int64 is in the path.
func pathID(r *http.Request) int64 {
	id, err := strconv.ParseInt(chi.URLParam(r, "id"), 10, 64)
	if err != nil || id < 0 {
		return 0
	}
	return id
}

func fail(w http.ResponseWriter, r *http.Request, what string, id int64, err error) {
	var database *pgconn.PgError
	switch {
	case errors.Is(err, errNotFound):
		problem(w, r, http.StatusNotFound, fmt.Sprintf("no %s %d", what, id))
	case errors.As(err, &database) && database.Code == "23503": // the user of an order
		problem(w, r, http.StatusNotFound, fmt.Sprintf("no %s %d", what, id))
	case errors.As(err, &database):
		slog.Error("database", "error", err)
		problem(w, r, http.StatusInternalServerError, "something went wrong")
	case errors.Is(err, context.DeadlineExceeded):
		problem(w, r, http.StatusGatewayTimeout, "the deadline has passed")
	default:
		slog.Error("database", "error", err)
		w.Header().Set("Retry-After", "1")
		problem(w, r, http.StatusServiceUnavailable, "the database is unreachable")
	}
}

// The cache holds the answer's JSON, so a hit is a copy. Requests that miss the same key at once share one load.
func (s *service) getUser(w http.ResponseWriter, r *http.Request) {
	id := pathID(r)
	if id == 0 {
		problem(w, r, http.StatusNotFound, "nothing is here")
		return
	}
	if s.cache == nil {
		u, err := s.db.user(r.Context(), id)
		if err != nil {
			fail(w, r, "user", id, err)
			return
		}
		writeJSON(w, r, http.StatusOK, &u)
		return
	}
	key := "go:user:" + strconv.FormatInt(id, 10)
	if found, err := s.cache.Get(key); err == nil {
		writeBody(w, http.StatusOK, jsonType, found.Value)
		return
	}
	body, err, _ := s.loads.Do(key, func() (any, error) { return s.loadUser(context.WithoutCancel(r.Context()), key, id) })
	if err != nil {
		fail(w, r, "user", id, err)
		return
	}
	writeBody(w, http.StatusOK, jsonType, body.([]byte))
}

func (s *service) loadUser(ctx context.Context, key string, id int64) ([]byte, error) {
	u, err := s.db.user(ctx, id)
	if err != nil {
		return nil, err
	}
	body, err := encoder.Encode(&u, encoding)
	if err == nil {
		_ = s.cache.Set(&memcache.Item{Key: key, Value: body, Expiration: cacheSeconds}) // the database has answered
	}
	return body, err
}

func queryInt(r *http.Request, name string, absent, low, high int64) (int64, bool) {
	text := r.URL.Query().Get(name)
	if text == "" {
		return absent, true
	}
	value, err := strconv.ParseInt(text, 10, 64)
	return value, err == nil && value >= low && value <= high
}

func (s *service) listUsers(w http.ResponseWriter, r *http.Request) {
	limit, good := queryInt(r, "limit", defaultLimit, 1, maxLimit)
	if !good {
		problem(w, r, http.StatusBadRequest, fmt.Sprintf("limit must be 1 to %d", maxLimit))
		return
	}
	after, good := queryInt(r, "after", 0, 1, math.MaxInt64)
	if !good {
		problem(w, r, http.StatusBadRequest, "after is no cursor")
		return
	}
	users, err := s.db.users(r.Context(), after, limit+1)
	if err != nil {
		fail(w, r, "user", 0, err)
		return
	}
	page := userPage{Users: users}
	if int64(len(users)) > limit {
		page.Users = users[:limit]
		cursor := strconv.FormatInt(users[limit-1].ID, 10)
		page.Next = &cursor
		w.Header()["Link"] = []string{
			"<" + r.URL.Path + "?limit=" + strconv.FormatInt(limit, 10) + "&after=" + cursor + ">; rel=\"next\""}
	}
	writeJSON(w, r, http.StatusOK, &page)
}

func (s *service) getSummary(w http.ResponseWriter, r *http.Request) {
	id := pathID(r)
	if id == 0 {
		problem(w, r, http.StatusNotFound, "nothing is here")
		return
	}
	summary, err := s.db.summary(r.Context(), id)
	if err != nil {
		fail(w, r, "user", id, err)
		return
	}
	writeJSON(w, r, http.StatusOK, summary)
}
