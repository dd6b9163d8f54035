#include "base/random.h"
#include "data/cache_private.h"

bool hob__cache_breaker_open(const hob_cache_breaker *breaker) {
    return breaker->pause != 0;
}

bool hob__cache_breaker_due(const hob_cache_breaker *breaker, int64_t now) {
    return breaker->pause != 0 && now >= breaker->probe_at;
}

bool hob__cache_breaker_failed(hob_cache_breaker *breaker, int64_t now) {
    if (breaker->pause == 0) {
        if (++breaker->failures < HOB_CACHE_FAILURES)
            return false;
        breaker->pause = HOB_CACHE_PAUSE;
    } else {
        int64_t twice = 2 * breaker->pause;
        breaker->pause = twice < HOB_CACHE_LONGEST_PAUSE ? twice : HOB_CACHE_LONGEST_PAUSE;
    }
    /* Jittered, lest all workers knock at a server that just came back at the same moment. */
    breaker->probe_at = now + (int64_t)((double)breaker->pause * hob__jitter(0.2));
    return true;
}

bool hob__cache_breaker_succeeded(hob_cache_breaker *breaker) {
    bool was_open = breaker->pause != 0;
    *breaker = (hob_cache_breaker){0};
    return was_open;
}
