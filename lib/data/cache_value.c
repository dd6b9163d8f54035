#include "data/cache_private.h"

#include <endian.h>
#include <string.h>

#include "base/random.h"

#define FORMAT 1

/* Little-endian: workers of different machines may share a server. */
typedef struct header {
    char magic[4];
    uint8_t format;
    uint8_t kind;
    uint16_t key_size;
    uint64_t id;
    uint32_t payload_size;
} __attribute__((packed)) header;
_Static_assert(sizeof(header) == HOB_CACHE_HEADER, "the layout on the server");

static const char MAGIC[4] = {'h', 'o', 'b', '\x17'};

uint64_t hob__cache_new_id(void) {
    uint64_t id;
    do {
        id = hob__random();
    } while (id == 0);
    return id;
}

size_t hob__cache_value_size(hob_text key, hob_text payload) {
    return HOB_CACHE_HEADER + key.size + payload.size;
}

void hob__cache_value_write(char *to, const hob_cache_entry *entry, hob_text key) {
    header head = {.format = FORMAT,
                   .kind = (uint8_t)entry->kind,
                   .key_size = htole16((uint16_t)key.size),
                   .id = htole64(entry->id),
                   .payload_size = htole32((uint32_t)entry->payload.size)};
    memcpy(head.magic, MAGIC, sizeof MAGIC);
    memcpy(to, &head, sizeof head);
    memcpy(to + sizeof head, key.data, key.size);
    if (entry->payload.size)
        memcpy(to + sizeof head + key.size, entry->payload.data, entry->payload.size);
}

bool hob__cache_value_read(hob_text stored, hob_text key, hob_cache_entry *entry) {
    header head;
    if (stored.size < sizeof head)
        return false;
    memcpy(&head, stored.data, sizeof head);
    if (memcmp(head.magic, MAGIC, sizeof MAGIC) != 0 || head.format != FORMAT || head.kind < HOB_CACHE_VALUE ||
        head.kind > HOB_CACHE_TOMBSTONE || head.id == 0)
        return false;
    hob_text payload = {.size = le32toh(head.payload_size)};
    if (le16toh(head.key_size) != key.size || stored.size != hob__cache_value_size(key, payload) ||
        memcmp(stored.data + sizeof head, key.data, key.size) != 0)
        return false;
    payload.data = stored.data + sizeof head + key.size;
    *entry = (hob_cache_entry){.kind = (hob_cache_kind)head.kind, .id = le64toh(head.id), .payload = payload};
    return true;
}
