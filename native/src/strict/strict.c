/* strict.c - one pass over the bytes with an explicit stack, and the search for duplicate keys.
 *
 * Duplicate keys. Most maps are small or already in order, and neither needs memory: keys that
 * ascend are unique, and up to PAIRWISE_KEYS_MAX keys are compared pair by pair. Otherwise the
 * offsets of the keys are kept on one stack shared by the open maps, and a hash table is built
 * over a map's keys whenever their number has doubled and when the map ends. That costs each key
 * a bounded number of look-ups, notices a flood of equal keys early, and keeps memory in
 * proportion to keys that really differ. The hash is SipHash-1-3 (Aumasson and Bernstein, 2012;
 * the reduced rounds are those of Python and Rust) under the 16 random bytes that the kernel
 * gives each process, so a peer cannot choose colliding keys. Sorting the keys instead would need
 * no secret, but notices a flood of equal keys only after all of them have been stored.
 */
#include "strict/strict.h"

#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>

#define PAIRWISE_KEYS_MAX 16
#define KEYS_ON_STACK     256
/* From here on a map's keys are checked at each doubling, not only at its end. */
#define EARLY_CHECK_KEYS_MIN 4096

typedef struct open_container {
    size_t left;       /* items, or pairs, still to come */
    uint32_t key_base; /* first of this map's keys in checker.keys */
    uint32_t keys;     /* keys seen */
    bool is_map;
    bool wants_key; /* a map: the next item is a key */
    bool pairwise;  /* few keys: compare each with all before */
    bool ascending; /* keys so far ascend, so they are unique */
} open_container;

typedef struct checker {
    const uint8_t *data;
    bool all_ascending; /* no map out of order yet */
    uint32_t *keys;     /* offsets of the keys of the open maps; starts as keys_on_stack */
    size_t keys_used, keys_max;
    uint32_t *table; /* offsets + 1, 0 = empty */
    size_t table_max;
    uint64_t secret[2];
    uint32_t keys_on_stack[KEYS_ON_STACK];
} checker;

/* ---- keys ---- */

typedef struct key_view {
    const uint8_t *data;
    size_t bytes;
} key_view;

/* The key whose head is at `offset`; it has been read before, so it is well-formed. */
static key_view key_at(const uint8_t *data, uint32_t offset)
{
    const uint8_t *at = data + offset;
    key_view key;
    unsigned width = 0;
    if (at[0] <= 0xBF) {
        key.bytes = at[0] & 0x1F;
    } else {
        width = 1u << (at[0] - 0xD9);
        key.bytes = (size_t)tdi_big_endian(at + 1, width);
    }
    key.data = at + 1 + width;
    return key;
}

/* Below, at or above 0, in the order of the bytes, a prefix first. */
static int key_order(key_view left, key_view right)
{
    const size_t common = left.bytes < right.bytes ? left.bytes : right.bytes;
    if (common > 0) {
        /* Most keys differ in their first byte, and a call costs more than such a look. */
        if (left.data[0] != right.data[0])
            return left.data[0] - right.data[0];
        const int order = memcmp(left.data, right.data, common);
        if (order != 0)
            return order;
    }
    return (left.bytes > right.bytes) - (left.bytes < right.bytes);
}

static bool key_equal(key_view left, key_view right)
{
    return left.bytes == right.bytes &&
           (left.bytes == 0 ||
            (left.data[0] == right.data[0] && memcmp(left.data, right.data, left.bytes) == 0));
}

static uint64_t rotate(uint64_t value, unsigned by)
{
    return value << by | value >> (64 - by);
}

static void sip_round(uint64_t v[4])
{
    v[0] += v[1];
    v[1] = rotate(v[1], 13) ^ v[0];
    v[0] = rotate(v[0], 32);
    v[2] += v[3];
    v[3] = rotate(v[3], 16) ^ v[2];
    v[0] += v[3];
    v[3] = rotate(v[3], 21) ^ v[0];
    v[2] += v[1];
    v[1] = rotate(v[1], 17) ^ v[2];
    v[2] = rotate(v[2], 32);
}

static uint64_t key_hash(const uint64_t secret[2], key_view key)
{
    uint64_t v[4] = {secret[0] ^ 0x736F6D6570736575u, secret[1] ^ 0x646F72616E646F6Du,
                     secret[0] ^ 0x6C7967656E657261u, secret[1] ^ 0x7465646279746573u};
    const uint8_t *at = key.data;
    size_t left = key.bytes;
    uint64_t word;
    for (; left >= 8; left -= 8, at += 8) {
        memcpy(&word, at, 8);
        v[3] ^= word;
        sip_round(v);
        v[0] ^= word;
    }
    word = (uint64_t)key.bytes << 56;
    for (size_t i = 0; i < left; i++)
        word |= (uint64_t)at[i] << (8 * i);
    v[3] ^= word;
    sip_round(v);
    v[0] ^= word;
    v[2] ^= 0xFF;
    for (int i = 0; i < 3; i++)
        sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

/* Are the `count` keys at `keys` all different? */
static td_status keys_unique(checker *check, const uint32_t *keys, size_t count)
{
    size_t slots = 64;
    while (slots < 2 * count)
        slots *= 2;
    if (slots > check->table_max) {
        free(check->table);
        check->table_max = 0;
        check->table = malloc(slots * sizeof *check->table);
        if (check->table == NULL)
            return TD_ERR_MEMORY;
        check->table_max = slots;
        const void *random = (const void *)getauxval(AT_RANDOM); /* the kernel's address */
        if (random == NULL)
            return TD_ERR_SYSTEM;
        memcpy(check->secret, random, sizeof check->secret);
    }
    memset(check->table, 0, slots * sizeof *check->table);
    for (size_t i = 0; i < count; i++) {
        const key_view key = key_at(check->data, keys[i]);
        size_t slot = (size_t)key_hash(check->secret, key) & (slots - 1);
        while (check->table[slot] != 0) {
            if (key_equal(key, key_at(check->data, check->table[slot] - 1)))
                return TD_CORRUPT;
            slot = (slot + 1) & (slots - 1);
        }
        check->table[slot] = keys[i] + 1;
    }
    return TD_OK;
}

static td_status keys_push(checker *check, uint32_t offset)
{
    if (check->keys_used == check->keys_max) {
        const size_t more = 2 * check->keys_max;
        const bool first = check->keys == check->keys_on_stack;
        uint32_t *keys = realloc(first ? NULL : check->keys, more * sizeof *keys);
        if (keys == NULL)
            return TD_ERR_MEMORY;
        if (first)
            memcpy(keys, check->keys_on_stack, sizeof check->keys_on_stack);
        check->keys = keys;
        check->keys_max = more;
    }
    check->keys[check->keys_used++] = offset;
    return TD_OK;
}

/* Take note of the key whose head is at `offset`. */
static td_status map_key(checker *check, open_container *map, uint32_t offset)
{
    const key_view key = key_at(check->data, offset);
    const uint32_t *before = check->keys + map->key_base;
    if (map->keys > 0 && map->ascending) {
        const int order = key_order(key_at(check->data, before[map->keys - 1]), key);
        if (order == 0)
            return TD_CORRUPT;
        if (order > 0)
            map->ascending = check->all_ascending = false;
    }
    if (!map->ascending && map->pairwise) {
        for (uint32_t i = 0; i < map->keys; i++)
            if (key_equal(key_at(check->data, before[i]), key))
                return TD_CORRUPT;
    }
    const td_status status = keys_push(check, offset);
    if (status != TD_OK)
        return status;
    map->keys++;
    const bool doubled = map->keys >= EARLY_CHECK_KEYS_MIN && (map->keys & (map->keys - 1)) == 0;
    if (doubled && !map->ascending)
        return keys_unique(check, check->keys + map->key_base, map->keys);
    return TD_OK;
}

/* A map is complete: settle what was put off, and drop its keys. */
static td_status map_end(checker *check, const open_container *map)
{
    td_status status = TD_OK;
    if (!map->ascending && !map->pairwise)
        status = keys_unique(check, check->keys + map->key_base, map->keys);
    check->keys_used = map->key_base;
    return status;
}

/* ---- values ---- */

/* Check one value and step over it. */
static td_status check_value(checker *check, td_reader *reader)
{
    open_container stack[TD_DEPTH_MAX];
    size_t depth = 0;
    for (;;) {
        open_container *top = depth > 0 ? &stack[depth - 1] : NULL;
        const bool is_key = top != NULL && top->is_map && top->wants_key;
        const size_t offset = (size_t)(reader->at - check->data);
        td_item item;
        if (!tdi_read_item(reader, &item))
            return TD_CORRUPT;
        if (item.type == TD_TYPE_STR && !td_utf8_valid(item.data, item.count))
            return TD_CORRUPT;
        if (is_key) {
            if (item.type != TD_TYPE_STR)
                return TD_CORRUPT;
            const td_status status = map_key(check, top, (uint32_t)offset);
            if (status != TD_OK)
                return status;
            top->wants_key = false;
            continue; /* a key is always followed by its value */
        }
        if (item.type == TD_TYPE_ARRAY || item.type == TD_TYPE_MAP) {
            if (depth == TD_DEPTH_MAX)
                return TD_CORRUPT;
            open_container *const opened = &stack[depth++];
            opened->left = item.count;
            opened->key_base = (uint32_t)check->keys_used;
            opened->keys = 0;
            opened->is_map = item.type == TD_TYPE_MAP;
            opened->wants_key = true;
            opened->pairwise = item.count <= PAIRWISE_KEYS_MAX;
            opened->ascending = true;
            if (item.count > 0)
                continue;
        } else if (top != NULL) {
            top->left--;
            top->wants_key = true;
        }
        /* Close what is complete; closing a container completes an item of the one around it. */
        while (depth > 0 && stack[depth - 1].left == 0) {
            if (stack[depth - 1].is_map) {
                const td_status status = map_end(check, &stack[depth - 1]);
                if (status != TD_OK)
                    return status;
            }
            depth--;
            if (depth > 0) {
                stack[depth - 1].left--;
                stack[depth - 1].wants_key = true;
            }
        }
        if (depth == 0)
            return TD_OK;
    }
}

static void checker_init(checker *check, const uint8_t *data)
{
    check->data = data;
    check->all_ascending = true;
    check->keys = check->keys_on_stack;
    check->keys_used = 0;
    check->keys_max = KEYS_ON_STACK;
    check->table = NULL;
    check->table_max = 0;
}

static void checker_fini(checker *check)
{
    free(check->table);
    if (check->keys != check->keys_on_stack)
        free(check->keys);
}

/* Offsets are 32 bits wide, one value of them being "empty". */
static td_status check_size(const uint8_t *data, size_t bytes)
{
    if (data == NULL || bytes == 0)
        return TD_CORRUPT;
    return bytes >= UINT32_MAX ? TD_TOO_LARGE : TD_OK;
}

static td_status check_one(const uint8_t *data, size_t bytes, bool *canonical)
{
    td_status status = check_size(data, bytes);
    if (status != TD_OK)
        return status;
    checker check;
    checker_init(&check, data);
    td_reader reader = td_reader_of(data, bytes);
    status = check_value(&check, &reader);
    if (status == TD_OK && reader.at != reader.end)
        status = TD_CORRUPT;
    *canonical = check.all_ascending;
    checker_fini(&check);
    return status;
}

td_status td_strict_check(const uint8_t *data, size_t bytes)
{
    bool canonical;
    return check_one(data, bytes, &canonical);
}

td_status td_canonical_check(const uint8_t *data, size_t bytes)
{
    bool canonical;
    const td_status status = check_one(data, bytes, &canonical);
    if (status != TD_OK)
        return status;
    return canonical ? TD_OK : TD_FAILED;
}

td_status td_strict_check_pair(const uint8_t *data, size_t bytes)
{
    td_status status = check_size(data, bytes);
    if (status != TD_OK)
        return status;
    td_reader reader = td_reader_of(data, bytes);
    size_t items;
    if (td_read_array(&reader, &items) != TD_OK || items != 2)
        return TD_CORRUPT;
    checker check;
    checker_init(&check, data);
    status = check_value(&check, &reader);
    if (status == TD_OK) {
        td_type type;
        if (td_peek_type(&reader, &type) != TD_OK || type != TD_TYPE_MAP)
            status = TD_CORRUPT;
        else
            status = check_value(&check, &reader);
    }
    if (status == TD_OK && reader.at != reader.end)
        status = TD_CORRUPT;
    checker_fini(&check);
    return status;
}

/* ---- canonical form ---- */

typedef struct pair_span {
    key_view key;         /* what is compared */
    const uint8_t *start; /* the head of the key */
    const uint8_t *value;
    const uint8_t *end;
} pair_span;

static int pair_order(const void *left, const void *right)
{
    return key_order(((const pair_span *)left)->key, ((const pair_span *)right)->key);
}

/* Write the value at `reader`, which is strict; at most TD_DEPTH_MAX deep, hence the recursion. */
static td_status write_canonical(td_reader *reader, td_writer *out)
{
    const uint8_t *const start = reader->at;
    td_item item;
    td_status status = td_read_item(reader, &item);
    if (status != TD_OK)
        return status;
    status = td_write_raw(out, start, (size_t)(reader->at - start));
    if (item.type == TD_TYPE_ARRAY) {
        for (size_t i = 0; i < item.count && status == TD_OK; i++)
            status = write_canonical(reader, out);
    } else if (item.type == TD_TYPE_MAP && item.count > 0 && status == TD_OK) {
        pair_span *pairs = malloc(item.count * sizeof *pairs);
        if (pairs == NULL)
            return TD_ERR_MEMORY;
        for (size_t i = 0; i < item.count && status == TD_OK; i++) {
            pairs[i].start = reader->at;
            const char *text;
            status = td_read_str(reader, &text, &pairs[i].key.bytes);
            if (status != TD_OK)
                break;
            pairs[i].key.data = (const uint8_t *)text;
            pairs[i].value = reader->at;
            status = td_skip(reader);
            pairs[i].end = reader->at;
        }
        if (status == TD_OK)
            qsort(pairs, item.count, sizeof *pairs, pair_order);
        for (size_t i = 0; i < item.count && status == TD_OK; i++) {
            td_write_raw(out, pairs[i].start, (size_t)(pairs[i].value - pairs[i].start));
            td_reader value = {pairs[i].value, pairs[i].end};
            status = write_canonical(&value, out);
        }
        free(pairs);
    }
    return status;
}

td_status td_canonical(const uint8_t *data, size_t bytes, td_writer *out)
{
    bool canonical;
    const td_status status = check_one(data, bytes, &canonical);
    if (status != TD_OK)
        return status;
    if (canonical)
        return td_write_raw(out, data, bytes);
    td_reader reader = td_reader_of(data, bytes);
    return write_canonical(&reader, out);
}
