#include "json/keys.h"

#include <string.h>

#define COMPARED_ONE_BY_ONE 16
#define FIRST_LIST 64

void hob__keys_open(hob_keys *keys, unsigned depth) {
    keys->frames[depth].base = keys->count;
    keys->frames[depth].mask = 0;
}

void hob__keys_close(hob_keys *keys, unsigned depth) {
    keys->count = keys->frames[depth].base;
}

static uint64_t mix(uint64_t a, uint64_t b) {
    unsigned __int128 product = (unsigned __int128)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static uint32_t hash_of(const hob_keys *keys, hob_text key) {
    uint64_t hash = keys->seed ^ key.size, word;
    for (; key.size >= sizeof word; key.data += sizeof word, key.size -= sizeof word) {
        memcpy(&word, key.data, sizeof word);
        hash = mix(hash ^ word, keys->factor);
    }
    word = 0;
    memcpy(&word, key.data, key.size);
    hash = mix(hash ^ word, keys->factor);
    return (uint32_t)(mix(hash ^ keys->seed, keys->factor) >> 32);
}

static bool same(const hob_json_key *a, const hob_json_key *b) {
    return a->hash == b->hash && a->size == b->size && memcmp(a->data, b->data, a->size) == 0;
}

/* The slot of the key, or the free one where it belongs. */
static uint32_t *slot_of(const hob_keys *keys, const hob_key_frame *frame, const hob_json_key *key) {
    for (uint32_t i = key->hash & frame->mask;; i = (i + 1) & frame->mask) {
        uint32_t *slot = &frame->slots[i];
        if (*slot == 0 || same(&keys->list[frame->base + *slot - 1], key))
            return slot;
    }
}

/* Makes the table four times as large as the object has keys. */
static bool rebuild(hob_keys *keys, hob_key_frame *frame, uint32_t count) {
    uint32_t wanted = 4 * COMPARED_ONE_BY_ONE;
    while (wanted < 4 * count)
        wanted *= 2;
    if (wanted > frame->capacity) {
        uint32_t *slots = hob__arena_alloc(keys->arena, wanted * sizeof *slots);
        if (!slots)
            return false;
        frame->slots = slots;
        frame->capacity = wanted;
    }
    frame->mask = wanted - 1;
    memset(frame->slots, 0, wanted * sizeof *frame->slots);
    for (uint32_t i = 0; i < count; i++)
        *slot_of(keys, frame, &keys->list[frame->base + i]) = i + 1;
    return true;
}

static bool push(hob_keys *keys, const hob_json_key *key) {
    if (keys->count == keys->capacity) {
        uint32_t wanted = keys->capacity ? 2 * keys->capacity : FIRST_LIST;
        hob_json_key *list =
            hob__arena_grow(keys->arena, keys->list, keys->capacity * sizeof *list, wanted * sizeof *list);
        if (!list)
            return false;
        keys->list = list;
        keys->capacity = wanted;
    }
    keys->list[keys->count++] = *key;
    return true;
}

static bool has(const hob_keys *keys, const hob_key_frame *frame, const hob_json_key *key) {
    for (uint32_t i = frame->base; i < keys->count; i++)
        if (same(&keys->list[i], key))
            return true;
    return false;
}

bool hob__keys_add(hob_keys *keys, unsigned depth, hob_text text) {
    hob_key_frame *frame = &keys->frames[depth];
    uint32_t count = keys->count - frame->base;
    hob_json_key key = {text.data, (uint32_t)text.size, hash_of(keys, text)};

    if (count < COMPARED_ONE_BY_ONE)
        return !has(keys, frame, &key) && push(keys, &key);
    if (count >= frame->mask / 2 && !rebuild(keys, frame, count))
        return false;
    uint32_t *slot = slot_of(keys, frame, &key);
    if (*slot != 0 || !push(keys, &key))
        return false;
    *slot = count + 1;
    return true;
}
