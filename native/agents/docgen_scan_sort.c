#include "docgen_scan_sort.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "docgen_scan_grow.h"

enum { SMALL = 12, PARTITIONS_MAX = 48 };

typedef struct paths {
    const uint8_t *bytes;
    tdi_path_of *path_of;
    const void *owner;
    tdi_grow waiting; /* ranges that agree so far */
} paths;

/* Places [start, end) agree in their first `depth` bytes. */
typedef struct range {
    size_t start, end, depth;
} range;

/* The eight bytes from `depth` on as a number that compares like them; zeros beyond the end. */
static uint64_t key_at(const paths *all, size_t index, size_t depth)
{
    const tdi_path path = all->path_of(all->owner, index);
    const size_t left = path.bytes > depth ? path.bytes - depth : 0;
    uint64_t key = 0;
    if (left >= sizeof key)
        memcpy(&key, all->bytes + path.at + depth, sizeof key);
    else if (left > 0)
        memcpy(&key, all->bytes + path.at + depth, left);
    return __builtin_bswap64(key);
}

static void swap(tdi_placed *left, tdi_placed *right)
{
    const tdi_placed held = *left;
    *left = *right;
    *right = held;
}

static int compare_keys(const void *left, const void *right)
{
    const tdi_placed *const a = left, *const b = right;
    return (a->key > b->key) - (a->key < b->key);
}

static void sort_few(tdi_placed *places, size_t count)
{
    for (size_t i = 1; i < count; i++) {
        const tdi_placed held = places[i];
        size_t at = i;
        for (; at > 0 && places[at - 1].key > held.key; at--)
            places[at] = places[at - 1];
        places[at] = held;
    }
}

static uint64_t middle_key(const tdi_placed *places, size_t count)
{
    const uint64_t a = places[0].key, b = places[count / 2].key, c = places[count - 1].key;
    const uint64_t low = a < b ? a : b, high = a < b ? b : a;
    return c < low ? low : c > high ? high : c;
}

/* By key alone: quicksort in three parts. Bad pivots end in a merge sort, so that no choice of
 * names makes this quadratic; and only the shorter part recurses. */
static void sort_keys(tdi_placed *places, size_t count)
{
    for (unsigned partitions = 0; count > SMALL; partitions++) {
        if (partitions == PARTITIONS_MAX) {
            qsort(places, count, sizeof *places, compare_keys);
            return;
        }
        const uint64_t pivot = middle_key(places, count);
        size_t low = 0, at = 0, high = count;
        while (at < high) {
            if (places[at].key < pivot)
                swap(&places[low++], &places[at++]);
            else if (places[at].key > pivot)
                swap(&places[at], &places[--high]);
            else
                at++;
        }
        if (low < count - high) {
            sort_keys(places, low);
            places += high;
            count -= high;
        } else {
            sort_keys(places + high, count - high);
            count = low;
        }
    }
    sort_few(places, count);
}

static void sort_by_rank(const paths *all, tdi_placed *places, size_t count)
{
    for (size_t i = 0; i < count; i++)
        places[i].key = all->path_of(all->owner, places[i].index).rank;
    sort_keys(places, count);
}

/* Sort one range by its next eight bytes; what still agrees waits for its turn. */
static bool sort_range(paths *all, tdi_placed *places, range here)
{
    bool equal = true;
    for (size_t i = here.start; i < here.end; i++) {
        places[i].key = key_at(all, places[i].index, here.depth);
        equal = equal && places[i].key == places[here.start].key;
    }
    if (!equal)
        sort_keys(places + here.start, here.end - here.start);
    for (size_t start = here.start, end; start < here.end; start = end) {
        const uint64_t key = places[start].key;
        for (end = start + 1; end < here.end && places[end].key == key;)
            end++;
        if (end - start == 1)
            continue;
        const range same = {start, end, here.depth + 8};
        if ((key & 0xFF) == 0) /* they ended, and are equal */
            sort_by_rank(all, places + start, end - start);
        else if (!tdi_grow_add(&all->waiting, &same, sizeof same))
            return false;
    }
    return true;
}

td_status tdi_paths_sort(const uint8_t *bytes, tdi_path_of *path_of, const void *owner,
                         size_t count, tdi_placed **out)
{
    *out = NULL;
    if (count == 0)
        return TD_OK;
    tdi_placed *const places = malloc(count * sizeof *places);
    if (places == NULL)
        return TD_ERR_MEMORY;
    for (size_t i = 0; i < count; i++)
        places[i].index = i;
    paths all = {.bytes = bytes, .path_of = path_of, .owner = owner};
    bool fine = sort_range(&all, places, (range){0, count, 0});
    while (fine && all.waiting.bytes > 0) {
        range next;
        all.waiting.bytes -= sizeof next;
        memcpy(&next, all.waiting.data + all.waiting.bytes, sizeof next);
        fine = sort_range(&all, places, next);
    }
    tdi_grow_fini(&all.waiting);
    if (!fine) {
        free(places);
        return TD_ERR_MEMORY;
    }
    *out = places;
    return TD_OK;
}
