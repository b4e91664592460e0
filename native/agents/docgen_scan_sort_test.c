#include "docgen_scan_sort.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/test.h"

enum { PATHS = 4000, BYTES_MAX = 40 };

static uint8_t bytes[PATHS * BYTES_MAX];
static tdi_path all[PATHS];

static tdi_path path_of(const void *owner, size_t index)
{
    return ((const tdi_path *)owner)[index];
}

static uint64_t state = 88172645463325252u;

static uint64_t next_random(void) /* xorshift64 */
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

/* The plain way: bytes, then length, then rank. */
static int plain_order(size_t left, size_t right)
{
    const tdi_path a = all[left], b = all[right];
    const int order = memcmp(bytes + a.at, bytes + b.at, a.bytes < b.bytes ? a.bytes : b.bytes);
    if (order != 0)
        return order;
    if (a.bytes != b.bytes)
        return a.bytes < b.bytes ? -1 : 1;
    return left < right ? -1 : 1;
}

/* Each place holds another path, and each pair of neighbours is in order. */
static void check_sorted(size_t count)
{
    tdi_placed *order = NULL;
    static bool seen[PATHS];
    memset(seen, 0, sizeof seen);
    CHECK_EQ(tdi_paths_sort(bytes, path_of, all, count, &order), TD_OK);
    for (size_t i = 0; i < count; i++) {
        CHECK(order[i].index < count && !seen[order[i].index]);
        seen[order[i].index] = true;
        CHECK(i == 0 || plain_order(order[i - 1].index, order[i].index) < 0);
    }
    free(order);
}

/* Few letters and long common beginnings, lengths on both sides of eight, bytes over 127. */
static void any_paths_come_in_the_order_of_their_bytes(void)
{
    static const uint8_t letters[] = {1, '-', '.', '/', 'a', 0x7F, 0x80, 0xFF};
    for (size_t count = 0; count <= PATHS; count = 3 * count + 1) {
        for (size_t i = 0; i < count; i++) {
            all[i] = (tdi_path){i * BYTES_MAX, next_random() % (BYTES_MAX + 1), i};
            const size_t common = next_random() % 33;
            for (size_t b = 0; b < all[i].bytes; b++)
                bytes[all[i].at + b] = b < common ? 'p' : letters[next_random() % 8];
        }
        check_sorted(count);
    }
}

/* Names in an order that is hard on pivots: a merge sort has to take over. */
static void an_order_against_the_pivot_is_sorted_too(void)
{
    for (size_t i = 0; i < PATHS; i++) {
        const size_t value = i < PATHS / 2 ? 2 * i : 2 * (PATHS - i) - 1; /* organ pipes */
        all[i] = (tdi_path){i * BYTES_MAX, 4, i};
        bytes[all[i].at] = 'x';
        bytes[all[i].at + 1] = (uint8_t)(1 + value / 10000);
        bytes[all[i].at + 2] = (uint8_t)(1 + value / 100 % 100);
        bytes[all[i].at + 3] = (uint8_t)(1 + value % 100);
    }
    check_sorted(PATHS);
}

/* One path that begins with the other, far beyond what recursion would bear. */
static void long_paths_need_no_recursion(void)
{
    enum { LONG = 8 << 20 };
    uint8_t *const text = malloc(LONG);
    memset(text, 'x', LONG);
    const tdi_path two[2] = {{0, LONG, 0}, {0, LONG - 1, 0}};
    tdi_placed *order = NULL;
    CHECK_EQ(tdi_paths_sort(text, path_of, two, 2, &order), TD_OK);
    CHECK(order[0].index == 1 && order[1].index == 0);
    free(order);
    free(text);
}

int main(void)
{
    RUN(any_paths_come_in_the_order_of_their_bytes);
    RUN(an_order_against_the_pivot_is_sorted_too);
    RUN(long_paths_need_no_recursion);
    return TEST_RESULT;
}
