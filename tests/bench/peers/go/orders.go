package main

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"

	"github.com/bytedance/sonic"
	"github.com/bytedance/sonic/decoder"
)

const (
	maxBody     = 1 << 20
	maxItems    = 100
	maxSKU      = 64
	maxQuantity = 10_000
	maxPrice    = 100_000_000
)

var strict = sonic.Config{DisallowUnknownFields: true, ValidateString: true}.Froze()

type newItem struct {
	SKU            string `json:"sku"`
	Quantity       int64  `json:"quantity"`
	UnitPriceCents *int64 `json:"unit_price_cents"` // 0 is a price, absence is a fault
}

type newOrder struct {
	Items []newItem `json:"items"`
}

func (s *service) createOrder(w http.ResponseWriter, r *http.Request) {
	id := pathID(r)
	if id == 0 {
		problem(w, r, http.StatusNotFound, "nothing is here")
		return
	}
	var body newOrder
	if !decode(w, r, &body) {
		return
	}
	items, faults := check(&body)
	if len(faults) > 0 {
		problem(w, r, http.StatusUnprocessableEntity, "the body has faults", faults...)
		return
	}
	created, err := s.db.createOrder(r.Context(), id, items)
	if err != nil {
		fail(w, r, "user", id, err)
		return
	}
	w.Header()["Location"] = []string{fmt.Sprintf("/api/v1/orders/%d", created.ID)}
	writeJSON(w, r, http.StatusCreated, created)
}

func (s *service) getOrder(w http.ResponseWriter, r *http.Request) {
	id := pathID(r)
	if id == 0 {
		problem(w, r, http.StatusNotFound, "nothing is here")
		return
	}
	found, err := s.db.order(r.Context(), id)
	if err != nil {
		fail(w, r, "order", id, err)
		return
	}
	writeJSON(w, r, http.StatusOK, &found)
}

func isJSON(contentType string) bool {
	if contentType == "application/json" {
		return true
	}
	media, parameters, err := mime.ParseMediaType(contentType)
	charset, given := parameters["charset"]
	return err == nil && media == "application/json" && (!given || strings.EqualFold(charset, "utf-8"))
}

// decode answers itself when it is false.
func decode(w http.ResponseWriter, r *http.Request, into any) bool {
	if !isJSON(r.Header.Get("Content-Type")) {
		problem(w, r, http.StatusUnsupportedMediaType, "the body must be application/json")
		return false
	}
	buffer := buffers.Get().(*[]byte)
	defer buffers.Put(buffer)
	var err error
	*buffer, err = readAll(http.MaxBytesReader(w, r.Body, maxBody), (*buffer)[:0])
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		problem(w, r, http.StatusRequestEntityTooLarge, "the body is too large")
		return false
	}
	if err != nil {
		problem(w, r, http.StatusBadRequest, "the body did not arrive")
		return false
	}
	err = strict.Unmarshal(*buffer, into) // works on a copy, which its strings point into
	var syntax decoder.SyntaxError
	if errors.As(err, &syntax) || (err != nil && !sonic.Valid(*buffer)) {
		problem(w, r, http.StatusBadRequest, fmt.Sprintf("the body is not JSON at byte %d", syntax.Pos))
		return false
	}
	if err != nil {
		problem(w, r, http.StatusUnprocessableEntity, "the body has faults", fault{"", err.Error()})
		return false
	}
	return true
}

// readAll is io.ReadAll into a buffer of the caller's.
func readAll(from io.Reader, buffer []byte) ([]byte, error) {
	for {
		if len(buffer) == cap(buffer) {
			buffer = append(buffer, 0)[:len(buffer)]
		}
		n, err := from.Read(buffer[len(buffer):cap(buffer)])
		buffer = buffer[:len(buffer)+n]
		if err == io.EOF {
			return buffer, nil
		}
		if err != nil {
			return buffer, err
		}
	}
}

func goodSKU(sku string) bool {
	for i := 0; i < len(sku); i++ {
		c := sku[i]
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '.' || c == '_' || c == '-') {
			return false
		}
	}
	return len(sku) >= 1 && len(sku) <= maxSKU
}

func check(body *newOrder) (items []item, faults []fault) {
	if len(body.Items) < 1 || len(body.Items) > maxItems {
		return nil, []fault{{"/items", fmt.Sprintf("must have 1 to %d elements", maxItems)}}
	}
	items = make([]item, len(body.Items))
	for i, given := range body.Items {
		if !goodSKU(given.SKU) {
			faults = append(faults, fault{fmt.Sprintf("/items/%d/sku", i), "must be 1 to 64 of A-Z, a-z, 0-9, '.', '_' and '-'"})
		}
		if given.Quantity < 1 || given.Quantity > maxQuantity {
			faults = append(faults, fault{fmt.Sprintf("/items/%d/quantity", i), "must be 1 to 10000"})
		}
		if given.UnitPriceCents == nil || *given.UnitPriceCents < 0 || *given.UnitPriceCents > maxPrice {
			faults = append(faults, fault{fmt.Sprintf("/items/%d/unit_price_cents", i), "must be 0 to 100000000"})
			continue
		}
		items[i] = item{given.SKU, given.Quantity, *given.UnitPriceCents}
	}
	return items, faults
}
