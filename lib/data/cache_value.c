#include "data/cache_private.h"

#include <endian.h>
#include <string.h>

#include "base/random.h"

#define FORMAT 2

/* Little-endian: workers of different machines may share a server. Behind it the key, the ids, the payload. */
typedef struct header {
    char magic[4];
    uint8_t format;
    uint8_t kind;
    uint16_t key_size;
    uint64_t id;
    uint32_t payload_size;
    uint16_t id_count;
    uint16_t unused;
    uint64_t checksum; /* of all the rest */
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

static uint64_t dated_id(int64_t unit_us, unsigned random_bits) {
    uint64_t date = (uint64_t)(hob__clock_wall_us() / unit_us);
    uint64_t id = date << random_bits | (hob__random() & ((UINT64_C(1) << random_bits) - 1));
    return id ? id : 1;
}

/* What was evicted comes back as something that was never there before, even should the random bits repeat: no older
 * value can take it for its own. */
uint64_t hob__cache_new_generation(void) {
    return dated_id(1000, 20);
}

#define WRITE_UNIT_US 1000000
#define WRITE_RANDOM_BITS 32

uint64_t hob__cache_new_write_id(void) {
    return dated_id(WRITE_UNIT_US, WRITE_RANDOM_BITS);
}

bool hob__cache_write_over(uint64_t id, int64_t longest) {
    int64_t age = hob__clock_wall_us() / WRITE_UNIT_US - (int64_t)(id >> WRITE_RANDOM_BITS);
    return age > longest || age < -longest;
}

/* FNV-1a over words, with a shift so that high bits count too. It finds damage; it keeps nobody out. */
static uint64_t checksum(uint64_t sum, const char *bytes, size_t size) {
    uint64_t word;
    for (; size >= sizeof word; bytes += sizeof word, size -= sizeof word) {
        memcpy(&word, bytes, sizeof word);
        sum = (sum ^ le64toh(word)) * UINT64_C(1099511628211);
        sum ^= sum >> 32;
    }
    word = 0;
    memcpy(&word, bytes, size);
    sum = (sum ^ le64toh(word) ^ (uint64_t)size << 56) * UINT64_C(1099511628211);
    return sum ^ sum >> 32;
}

static uint64_t checksum_of(const char *stored, size_t size) {
    uint64_t sum = checksum(UINT64_C(14695981039346656037), stored, offsetof(header, checksum));
    return checksum(sum, stored + sizeof(header), size - sizeof(header));
}

size_t hob__cache_value_size(const hob_cache_entry *entry, hob_text key) {
    return HOB_CACHE_HEADER + key.size + entry->id_count * sizeof(uint64_t) + entry->payload.size;
}

void hob__cache_value_write(char *to, const hob_cache_entry *entry, hob_text key) {
    header head = {.format = FORMAT,
                   .kind = (uint8_t)entry->kind,
                   .key_size = htole16((uint16_t)key.size),
                   .id = htole64(entry->id),
                   .payload_size = htole32((uint32_t)entry->payload.size),
                   .id_count = htole16((uint16_t)entry->id_count)};
    char *at = to + sizeof head;
    memcpy(head.magic, MAGIC, sizeof MAGIC);
    memcpy(to, &head, sizeof head);
    memcpy(at, key.data, key.size);
    at += key.size;
    for (size_t i = 0; i < entry->id_count; i++, at += sizeof(uint64_t))
        memcpy(at, &(uint64_t){htole64(entry->ids[i])}, sizeof(uint64_t));
    if (entry->payload.size)
        memcpy(at, entry->payload.data, entry->payload.size);
    head.checksum = htole64(checksum_of(to, hob__cache_value_size(entry, key)));
    memcpy(to, &head, sizeof head);
}

static void read_ids(hob_cache_entry *entry, const char *from) {
    for (size_t i = 0; i < entry->id_count; i++) {
        uint64_t id;
        memcpy(&id, from + i * sizeof id, sizeof id);
        entry->ids[i] = le64toh(id);
    }
}

bool hob__cache_value_read(hob_text stored, hob_text key, hob_cache_entry *entry) {
    header head;
    if (stored.size < sizeof head)
        return false;
    memcpy(&head, stored.data, sizeof head);
    if (memcmp(head.magic, MAGIC, sizeof MAGIC) != 0 || head.format != FORMAT || head.kind < HOB_CACHE_VALUE ||
        head.kind > HOB_CACHE_GENERATION || head.id == 0)
        return false;
    entry->kind = (hob_cache_kind)head.kind;
    entry->id = le64toh(head.id);
    entry->id_count = le16toh(head.id_count);
    entry->payload.size = le32toh(head.payload_size);
    if (entry->id_count > HOB_CACHE_IDS_MAX || le16toh(head.key_size) != key.size ||
        stored.size != hob__cache_value_size(entry, key) ||
        memcmp(stored.data + sizeof head, key.data, key.size) != 0 ||
        le64toh(head.checksum) != checksum_of(stored.data, stored.size))
        return false;
    const char *ids = stored.data + sizeof head + key.size;
    read_ids(entry, ids);
    entry->payload.data = ids + entry->id_count * sizeof(uint64_t);
    return true;
}
