package main

import (
	"log/slog"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/bradfitz/gomemcache/memcache"
	"github.com/bytedance/sonic/encoder"
	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"
	"golang.org/x/sync/singleflight"
)

type service struct {
	db        *store
	cache     *memcache.Client // nil: none
	loads     singleflight.Group
	accessLog *slog.Logger // nil: off
}

func (s *service) routes() http.Handler {
	r := chi.NewRouter()
	r.Use(middleware.RequestID, echoRequestID, middleware.RealIP)
	if s.accessLog != nil {
		r.Use(s.logRequest)
	}
	r.Use(middleware.Recoverer)
	r.NotFound(func(w http.ResponseWriter, r *http.Request) {
		problem(w, r, http.StatusNotFound, "nothing is here")
	})
	r.Get("/ping", ping)
	r.Get("/readyz", s.ready)
	r.Route("/api/v1", func(r chi.Router) {
		r.Get("/users", s.listUsers)
		r.Get("/users/{id}", s.getUser)
		r.Get("/users/{id}/summary", s.getSummary)
		r.Post("/users/{id}/orders", s.createOrder)
		r.Get("/orders/{id}", s.getOrder)
	})
	return r
}

func echoRequestID(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header()["X-Request-Id"] = []string{middleware.GetReqID(r.Context())}
		next.ServeHTTP(w, r)
	})
}

func (s *service) logRequest(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		started := time.Now()
		wrapped := middleware.NewWrapResponseWriter(w, r.ProtoMajor)
		defer func() {
			s.accessLog.LogAttrs(r.Context(), slog.LevelInfo, "request",
				slog.String("request_id", middleware.GetReqID(r.Context())),
				slog.Int("status", wrapped.Status()),
				slog.Int64("duration_us", time.Since(started).Microseconds()),
				slog.Int("bytes", wrapped.BytesWritten()),
				slog.String("client", r.RemoteAddr),
				slog.String("route", chi.RouteContext(r.Context()).RoutePattern()),
				slog.String("method", r.Method),
				slog.String("path", r.URL.Path))
		}()
		next.ServeHTTP(wrapped, r)
	})
}

var pong = []byte(`{"message":"pong"}`)

func ping(w http.ResponseWriter, _ *http.Request) {
	writeBody(w, http.StatusOK, jsonType, pong)
}

func (s *service) ready(w http.ResponseWriter, r *http.Request) {
	if err := s.db.pool.Ping(r.Context()); err != nil {
		problem(w, r, http.StatusServiceUnavailable, "the database is down")
		return
	}
	writeBody(w, http.StatusOK, jsonType, []byte(`{"status":"ready"}`))
}

// ---- Answers ----

// Header values that all answers share: assigning them costs no allocation.
var (
	jsonType    = []string{"application/json"}
	problemType = []string{"application/problem+json"}
)

var buffers = sync.Pool{New: func() any { b := make([]byte, 0, 16<<10); return &b }}

const encoding = encoder.NoValidateJSONMarshaler | encoder.NoQuoteTextMarshaler

func writeBody(w http.ResponseWriter, status int, contentType []string, body []byte) {
	header := w.Header()
	header["Content-Type"] = contentType
	header["Content-Length"] = []string{strconv.Itoa(len(body))}
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

// The body is complete before the status leaves.
func writeJSON(w http.ResponseWriter, r *http.Request, status int, value any) {
	writeEncoded(w, r, status, jsonType, value)
}

func writeEncoded(w http.ResponseWriter, r *http.Request, status int, contentType []string, value any) {
	buffer := buffers.Get().(*[]byte)
	defer buffers.Put(buffer)
	*buffer = (*buffer)[:0]
	if err := encoder.EncodeInto(buffer, value, encoding); err != nil {
		problem(w, r, http.StatusInternalServerError, "something went wrong")
		return
	}
	writeBody(w, status, contentType, *buffer)
}

type fault struct {
	Pointer string `json:"pointer"`
	Detail  string `json:"detail"`
}

type problemDocument struct {
	Type     string  `json:"type"`
	Title    string  `json:"title"`
	Status   int     `json:"status"`
	Detail   string  `json:"detail"`
	Instance string  `json:"instance"`
	Errors   []fault `json:"errors,omitempty"`
}

func problem(w http.ResponseWriter, r *http.Request, status int, detail string, faults ...fault) {
	writeEncoded(w, r, status, problemType, &problemDocument{
		Type: "about:blank", Title: title(status), Status: status, Detail: detail,
		Instance: middleware.GetReqID(r.Context()), Errors: faults,
	})
}

// RFC 9110's names, where net/http has older ones.
func title(status int) string {
	switch status {
	case http.StatusUnprocessableEntity:
		return "Unprocessable Content"
	case http.StatusRequestEntityTooLarge:
		return "Content Too Large"
	}
	return http.StatusText(status)
}
