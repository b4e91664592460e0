/* strict_test.c - what the validator accepts and refuses, and what readers and writers promise.
 * The golden bodies are checked by fuzz/golden_test.c, the twin in Python by tests/parity. */
#include "strict/strict.h"

#include <stdlib.h>
#include <sys/resource.h>

#include "base/test.h"

#define CHECK_BYTES(bytes_text, expected) \
    CHECK_EQ(td_strict_check((const uint8_t *)(bytes_text), sizeof(bytes_text) - 1), expected)

static const size_t ROOM = (size_t)64 << 20;

/* ---- the validator ---- */

static void every_length_of_int_has_one_form(void)
{
    CHECK_BYTES("\x7F", TD_OK);
    CHECK_BYTES("\xCC\x80", TD_OK);
    CHECK_BYTES("\xCC\x7F", TD_CORRUPT);
    CHECK_BYTES("\xCD\x01\x00", TD_OK);
    CHECK_BYTES("\xCD\x00\xFF", TD_CORRUPT);
    CHECK_BYTES("\xCE\x00\x01\x00\x00", TD_OK);
    CHECK_BYTES("\xCE\x00\x00\xFF\xFF", TD_CORRUPT);
    CHECK_BYTES("\xCF\x00\x00\x00\x01\x00\x00\x00\x00", TD_OK);
    CHECK_BYTES("\xCF\x00\x00\x00\x00\xFF\xFF\xFF\xFF", TD_CORRUPT);
    CHECK_BYTES("\xE0", TD_OK);
    CHECK_BYTES("\xD0\xDF", TD_OK);
    CHECK_BYTES("\xD0\xE0", TD_CORRUPT);
    CHECK_BYTES("\xD0\x01", TD_CORRUPT);
    CHECK_BYTES("\xD1\xFF\x7F", TD_OK);
    CHECK_BYTES("\xD1\xFF\x80", TD_CORRUPT);
    CHECK_BYTES("\xD2\xFF\xFF\x7F\xFF", TD_OK);
    CHECK_BYTES("\xD2\xFF\xFF\x80\x00", TD_CORRUPT);
    CHECK_BYTES("\xD3\xFF\xFF\xFF\xFF\x7F\xFF\xFF\xFF", TD_OK);
    CHECK_BYTES("\xD3\xFF\xFF\xFF\xFF\x80\x00\x00\x00", TD_CORRUPT);
    CHECK_BYTES("\xD3\x7F\xFF\xFF\xFF\xFF\xFF\xFF\xFF", TD_CORRUPT);
}

static void an_empty_body_and_trailing_bytes_are_refused(void)
{
    CHECK_EQ(td_strict_check(NULL, 0), TD_CORRUPT);
    CHECK_EQ(td_strict_check((const uint8_t *)"", 0), TD_CORRUPT);
    CHECK_BYTES("\xC0\xC0", TD_CORRUPT);
    CHECK_BYTES("\x90\x00", TD_CORRUPT);
}

static void float32_and_other_nans_are_refused(void)
{
    CHECK_BYTES("\xCA\x3F\x80\x00\x00", TD_CORRUPT);
    CHECK_BYTES("\xCB\x7F\xF8\x00\x00\x00\x00\x00\x00", TD_OK);
    CHECK_BYTES("\xCB\xFF\xF8\x00\x00\x00\x00\x00\x00", TD_CORRUPT);
    CHECK_BYTES("\xCB\x7F\xF0\x00\x00\x00\x00\x00\x01", TD_CORRUPT);
    CHECK_BYTES("\xCB\xFF\xF0\x00\x00\x00\x00\x00\x00", TD_OK); /* -inf */
    CHECK_BYTES("\xCB\x80\x00\x00\x00\x00\x00\x00\x00", TD_OK); /* -0.0 */
}

static void depth_32_passes_and_33_does_not(void)
{
    uint8_t body[TD_DEPTH_MAX + 2];
    memset(body, 0x91, sizeof body);
    body[TD_DEPTH_MAX] = 0xC0;
    CHECK_EQ(td_strict_check(body, TD_DEPTH_MAX + 1), TD_OK);
    body[TD_DEPTH_MAX] = 0x90; /* an empty one counts as well */
    CHECK_EQ(td_strict_check(body, TD_DEPTH_MAX + 1), TD_CORRUPT);
    body[TD_DEPTH_MAX] = 0x91;
    body[TD_DEPTH_MAX + 1] = 0xC0;
    CHECK_EQ(td_strict_check(body, TD_DEPTH_MAX + 2), TD_CORRUPT);
    /* The stack is popped: many deep ones side by side are fine. */
    td_heap_writer heap;
    td_heap_writer_init(&heap, ROOM);
    td_write_array(&heap.writer, 100);
    for (int i = 0; i < 100; i++) {
        for (int depth = 1; depth < TD_DEPTH_MAX; depth++)
            td_write_array(&heap.writer, 1);
        td_write_nil(&heap.writer);
    }
    CHECK_EQ(td_strict_check(heap.writer.start, td_writer_bytes(&heap.writer)), TD_OK);
    td_heap_writer_fini(&heap);
}

static void lengths_beyond_the_bytes_are_refused(void)
{
    CHECK_BYTES("\xDD\xFF\xFF\xFF\xFF", TD_CORRUPT);
    CHECK_BYTES("\xDF\xFF\xFF\xFF\xFF", TD_CORRUPT);
    CHECK_BYTES("\xDB\xFF\xFF\xFF\xFF", TD_CORRUPT);
    CHECK_BYTES("\xC6\xFF\xFF\xFF\xFF", TD_CORRUPT);
    CHECK_BYTES("\x92\x01", TD_CORRUPT);
    CHECK_BYTES("\x81\xA1k", TD_CORRUPT);
    CHECK_BYTES("\xCD\x01", TD_CORRUPT);
}

static void only_shortest_timestamps_are_accepted(void)
{
    CHECK_BYTES("\xD6\xFF\x00\x00\x00\x01", TD_OK);
    CHECK_BYTES("\xD6\x05\x00\x00\x00\x01", TD_CORRUPT);
    CHECK_BYTES("\xD7\xFF\x00\x00\x00\x00\x00\x00\x00\x01", TD_CORRUPT);
    CHECK_BYTES("\xD7\xFF\x00\x00\x00\x04\x00\x00\x00\x01", TD_OK);
    CHECK_BYTES("\xD7\xFF\xEE\x6B\x28\x00\x00\x00\x00\x01", TD_CORRUPT); /* 10^9 ns */
    CHECK_BYTES("\xC7\x0C\xFF\x00\x00\x00\x00\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF", TD_OK);
    CHECK_BYTES("\xC7\x0C\xFF\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01", TD_CORRUPT);
    CHECK_BYTES("\xC7\x04\xFF\x00\x00\x00\x01", TD_CORRUPT);
    CHECK_BYTES("\xC8\x00\x0C\xFF\x00\x00\x00\x00\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF", TD_CORRUPT);
    CHECK_BYTES("\xD4\xFF\x00", TD_CORRUPT);
}

static void keys_are_strings_and_unique(void)
{
    CHECK_BYTES("\x82\xA1"
                "a\x01\xA1"
                "b\x02",
                TD_OK);
    CHECK_BYTES("\x82\xA1"
                "a\x01\xA1"
                "a\x02",
                TD_CORRUPT);
    CHECK_BYTES("\x83\xA1"
                "b\x01\xA1"
                "a\x02\xA1"
                "b\x03",
                TD_CORRUPT);
    CHECK_BYTES("\x81\x01\x02", TD_CORRUPT);
    CHECK_BYTES("\x81\xC4\x01k\x02", TD_CORRUPT);
    /* The same key in another map is another key. */
    CHECK_BYTES("\x81\xA1k\x81\xA1k\x81\xA1k\xC0", TD_OK);
    CHECK_BYTES("\x92\x81\xA1k\x01\x81\xA1k\x01", TD_OK);
}

/* A map of `count` keys in a shuffled order; the last key repeats number `repeats` unless it is
 * negative. */
static void write_wide_map(td_writer *writer, uint32_t count, int64_t repeats)
{
    td_write_map(writer, count);
    for (uint32_t i = 0; i < count; i++) {
        char key[16];
        const uint32_t number =
            i + 1 == count && repeats >= 0 ? (uint32_t)repeats : i * 2654435761u;
        snprintf(key, sizeof key, "%08x", number);
        td_write_text(writer, key);
        td_write_uint(writer, i);
    }
}

static void a_wide_map_is_checked_for_duplicates(void)
{
    static const uint32_t counts[] = {2, 16, 17, 255, 256, 257, 4096, 4097, 100000};
    td_heap_writer heap;
    td_heap_writer_init(&heap, ROOM);
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        td_heap_writer_reset(&heap);
        write_wide_map(&heap.writer, counts[i], -1);
        CHECK_EQ(heap.writer.status, TD_OK);
        CHECK_EQ(td_strict_check(heap.writer.start, td_writer_bytes(&heap.writer)), TD_OK);
        td_heap_writer_reset(&heap);
        write_wide_map(&heap.writer, counts[i], 0);
        CHECK_EQ(td_strict_check(heap.writer.start, td_writer_bytes(&heap.writer)), TD_CORRUPT);
    }
    td_heap_writer_fini(&heap);
}

static void wide_maps_inside_wide_maps_keep_their_keys_apart(void)
{
    td_heap_writer heap;
    td_heap_writer_init(&heap, ROOM);
    td_writer *const writer = &heap.writer;
    for (int twice = 0; twice < 2; twice++) {
        td_heap_writer_reset(&heap);
        td_write_map(writer, 40);
        for (int outer = 40; outer > 0; outer--) {
            char key[16];
            snprintf(key, sizeof key, "%d", twice && outer == 1 ? 40 : outer);
            td_write_text(writer, key);
            write_wide_map(writer, 500, -1);
        }
        CHECK_EQ(td_strict_check(writer->start, td_writer_bytes(writer)),
                 twice ? TD_CORRUPT : TD_OK);
    }
    td_heap_writer_fini(&heap);
}

static void a_flood_of_two_keys_is_never_stored(void)
{
    /* 16 million pairs "b", "a", "b", "a", ...: their offsets alone would take 64 MiB. */
    const size_t pairs = (size_t)16 << 20, bytes = 5 + 3 * pairs;
    uint8_t *body = malloc(bytes);
    REQUIRE(body != NULL);
    body[0] = 0xDF;
    tdi_put_big_endian(body + 1, pairs, 4);
    for (size_t i = 0; i < pairs; i++) {
        body[5 + 3 * i] = 0xA1;
        body[6 + 3 * i] = i % 2 ? 'a' : 'b';
        body[7 + 3 * i] = 0xC0;
    }
    struct rusage before, after;
    REQUIRE(getrusage(RUSAGE_SELF, &before) == 0);
    CHECK_EQ(td_strict_check(body, bytes), TD_CORRUPT);
    REQUIRE(getrusage(RUSAGE_SELF, &after) == 0);
    CHECK(after.ru_maxrss - before.ru_maxrss < 8 * 1024); /* KiB */
    free(body);
}

static void a_pair_is_two_strict_values(void)
{
    const uint8_t good[] = {0x92, 0x01, 0x81, 0xA1, 'k', 0xC0};
    CHECK_EQ(td_strict_check_pair(good, sizeof good), TD_OK);
    const uint8_t no_map[] = {0x92, 0x01, 0xC0};
    CHECK_EQ(td_strict_check_pair(no_map, sizeof no_map), TD_CORRUPT);
    const uint8_t three[] = {0x93, 0x01, 0x80, 0x80};
    CHECK_EQ(td_strict_check_pair(three, sizeof three), TD_CORRUPT);
    const uint8_t trailing[] = {0x92, 0x01, 0x80, 0x80};
    CHECK_EQ(td_strict_check_pair(trailing, sizeof trailing), TD_CORRUPT);
    CHECK_EQ(td_strict_check_pair(good, 1), TD_CORRUPT);
    /* A payload of depth 32 travels; the envelope does not count. */
    uint8_t deep[TD_DEPTH_MAX + 4];
    memset(deep, 0x91, sizeof deep);
    deep[0] = 0x92;
    deep[TD_DEPTH_MAX + 1] = 0xC0;
    deep[TD_DEPTH_MAX + 2] = 0x80;
    CHECK_EQ(td_strict_check_pair(deep, TD_DEPTH_MAX + 3), TD_OK);
    CHECK_EQ(td_strict_check(deep, TD_DEPTH_MAX + 3), TD_CORRUPT);
    deep[TD_DEPTH_MAX + 1] = 0x91;
    deep[TD_DEPTH_MAX + 2] = 0xC0;
    deep[TD_DEPTH_MAX + 3] = 0x80;
    CHECK_EQ(td_strict_check_pair(deep, TD_DEPTH_MAX + 4), TD_CORRUPT);
}

/* ---- canonical form ---- */

static void canonical_sorts_keys_by_bytes_at_every_level(void)
{
    /* {"b": {"aa": 1, "a": 2}, "a": [{"z": 1, "": 2}]} */
    static const char body[] = "\x82\xA1"
                               "b\x82\xA2"
                               "aa\x01\xA1"
                               "a\x02\xA1"
                               "a\x91\x82\xA1z\x01\xA0\x02";
    static const char sorted[] = "\x82\xA1"
                                 "a\x91\x82\xA0\x02\xA1z\x01\xA1"
                                 "b\x82\xA1"
                                 "a\x02\xA2"
                                 "aa\x01";
    const size_t bytes = sizeof body - 1;
    td_heap_writer heap;
    td_heap_writer_init(&heap, ROOM);
    CHECK_EQ(td_canonical_check((const uint8_t *)body, bytes), TD_FAILED);
    CHECK_EQ(td_canonical((const uint8_t *)body, bytes, &heap.writer), TD_OK);
    CHECK_EQ(td_writer_bytes(&heap.writer), bytes);
    CHECK(memcmp(heap.writer.start, sorted, bytes) == 0);
    CHECK_EQ(td_canonical_check(heap.writer.start, bytes), TD_OK);
    td_heap_writer_reset(&heap);
    CHECK_EQ(td_canonical((const uint8_t *)"\xC1", 1, &heap.writer), TD_CORRUPT);
    td_heap_writer_fini(&heap);
}

static void a_canonical_body_that_does_not_fit_says_so(void)
{
    static const char body[] = "\x82\xA1"
                               "b\x01\xA1"
                               "a\x02";
    uint8_t storage[4];
    td_writer writer;
    td_writer_fixed(&writer, storage, sizeof storage);
    CHECK_EQ(td_canonical((const uint8_t *)body, sizeof body - 1, &writer), TD_TOO_LARGE);
}

/* ---- readers and writers ---- */

static void a_reader_that_meets_another_type_does_not_move(void)
{
    static const char body[] = "\x93\x05\xA1x\xC4\x01\xFF";
    td_reader reader = td_reader_of((const uint8_t *)body, sizeof body - 1);
    size_t items = 0, bytes = 0;
    int64_t number = 0;
    const char *text = NULL;
    const uint8_t *data = NULL;
    double real = 0;
    bool boolean = true;
    CHECK_EQ(td_read_map(&reader, &items), TD_FAILED);
    CHECK_EQ(td_read_array(&reader, &items), TD_OK);
    CHECK_EQ(items, 3);
    CHECK_EQ(td_read_str(&reader, &text, &bytes), TD_FAILED);
    CHECK_EQ(td_read_bool(&reader, &boolean), TD_FAILED);
    CHECK_EQ(td_read_nil(&reader), TD_FAILED);
    CHECK_EQ(td_read_float(&reader, &real), TD_FAILED);
    CHECK_EQ(td_read_int(&reader, &number), TD_OK);
    CHECK_EQ(number, 5);
    CHECK_EQ(td_read_str(&reader, &text, &bytes), TD_OK);
    CHECK(bytes == 1 && text[0] == 'x');
    td_type type = TD_TYPE_NIL;
    CHECK_EQ(td_peek_type(&reader, &type), TD_OK);
    CHECK_EQ(type, TD_TYPE_BIN);
    CHECK_EQ(td_read_bin(&reader, &data, &bytes), TD_OK);
    CHECK(bytes == 1 && data[0] == 0xFF);
    CHECK_EQ(td_reader_left(&reader), 0);
    CHECK_EQ(td_read_nil(&reader), TD_CORRUPT);
}

static void integers_are_read_only_where_they_fit(void)
{
    td_heap_writer heap;
    td_heap_writer_init(&heap, ROOM);
    td_write_uint(&heap.writer, UINT64_MAX);
    td_write_int(&heap.writer, INT64_MIN);
    td_reader reader = td_reader_of(heap.writer.start, td_writer_bytes(&heap.writer));
    int64_t number = 0;
    uint64_t positive = 0;
    double real = 0;
    CHECK_EQ(td_read_int(&reader, &number), TD_FAILED);
    CHECK_EQ(td_read_uint(&reader, &positive), TD_OK);
    CHECK(positive == UINT64_MAX);
    CHECK_EQ(td_read_uint(&reader, &positive), TD_FAILED);
    td_reader again = reader;
    CHECK_EQ(td_read_number(&again, &real), TD_OK);
    CHECK(real == -9223372036854775808.0);
    CHECK_EQ(td_read_int(&reader, &number), TD_OK);
    CHECK(number == INT64_MIN);
    td_heap_writer_fini(&heap);
}

static void a_key_is_found_wherever_it_stands(void)
{
    static const char body[] = "\x83\xA1"
                               "a\x92\x01\x02\xA2"
                               "ab\x81\xA1"
                               "c\x07\xA0\x09";
    const td_reader map = td_reader_of((const uint8_t *)body, sizeof body - 1);
    td_reader value, inner;
    uint64_t number = 0;
    REQUIRE(td_map_find(map, "ab", &value) == TD_OK);
    REQUIRE(td_map_find(value, "c", &inner) == TD_OK);
    CHECK_EQ(td_read_uint(&inner, &number), TD_OK);
    CHECK_EQ(number, 7);
    REQUIRE(td_map_find(map, "", &value) == TD_OK);
    CHECK_EQ(td_read_uint(&value, &number), TD_OK);
    CHECK_EQ(number, 9);
    CHECK_EQ(td_map_find(map, "c", &value), TD_FAILED);
    REQUIRE(td_map_find(map, "a", &value) == TD_OK);
    CHECK_EQ(td_map_find(value, "a", &inner), TD_FAILED); /* not a map */
}

static void what_is_written_is_strict_and_reads_back(void)
{
    static const size_t lengths[] = {0, 31, 32, 255, 256, 65535, 65536};
    static const int64_t edges[] = {
        0,  127, 128, 255,  256,  65535,  65536,  4294967295,  4294967296,  INT64_MAX,
        -1, -32, -33, -128, -129, -32768, -32769, -2147483648, -2147483649, INT64_MIN};
    char *text = malloc(65536);
    REQUIRE(text != NULL);
    memset(text, 'x', 65536);
    td_heap_writer heap;
    td_heap_writer_init(&heap, ROOM);
    td_writer *const writer = &heap.writer;
    const size_t n_lengths = sizeof lengths / sizeof *lengths;
    const size_t n_edges = sizeof edges / sizeof *edges;
    td_write_array(writer, 2 * n_lengths + n_edges + 4);
    for (size_t i = 0; i < n_lengths; i++) {
        td_write_str(writer, text, lengths[i]);
        td_write_bin(writer, text, lengths[i]);
    }
    for (size_t i = 0; i < n_edges; i++)
        td_write_int(writer, edges[i]);
    td_write_timestamp(writer, 0, 0);
    td_write_timestamp(writer, 0x3FFFFFFFF, 999999999);
    td_write_timestamp(writer, -1, 5);
    td_write_float(writer, -(0.0 / 0.0 * 1.0));
    CHECK_EQ(writer->status, TD_OK);
    CHECK_EQ(td_strict_check(writer->start, td_writer_bytes(writer)), TD_OK);
    td_reader reader = td_reader_of(writer->start, td_writer_bytes(writer));
    size_t items = 0, bytes = 0;
    CHECK_EQ(td_read_array(&reader, &items), TD_OK);
    for (size_t i = 0; i < n_lengths; i++) {
        const char *found = NULL;
        const uint8_t *data = NULL;
        CHECK(td_read_str(&reader, &found, &bytes) == TD_OK && bytes == lengths[i]);
        CHECK(td_read_bin(&reader, &data, &bytes) == TD_OK && bytes == lengths[i]);
    }
    for (size_t i = 0; i < n_edges; i++) {
        int64_t number = 0;
        CHECK(td_read_int(&reader, &number) == TD_OK && number == edges[i]);
    }
    int64_t seconds = 0;
    uint32_t nanoseconds = 1;
    CHECK_EQ(td_read_timestamp(&reader, &seconds, &nanoseconds), TD_OK);
    CHECK(seconds == 0 && nanoseconds == 0);
    CHECK_EQ(td_read_timestamp(&reader, &seconds, &nanoseconds), TD_OK);
    CHECK(seconds == 0x3FFFFFFFF && nanoseconds == 999999999);
    CHECK_EQ(td_read_timestamp(&reader, &seconds, &nanoseconds), TD_OK);
    CHECK(seconds == -1 && nanoseconds == 5);
    td_heap_writer_fini(&heap);
    free(text);
}

static void a_writer_keeps_its_first_failure(void)
{
    uint8_t storage[8];
    td_writer writer;
    td_writer_fixed(&writer, storage, sizeof storage);
    CHECK_EQ(td_write_text(&writer, "1234567"), TD_OK);
    CHECK_EQ(td_write_nil(&writer), TD_TOO_LARGE);
    CHECK_EQ(td_write_text(&writer, "\xFF"), TD_TOO_LARGE);
    CHECK_EQ(td_writer_bytes(&writer), 8);
    td_writer_fixed(&writer, storage, sizeof storage);
    CHECK_EQ(td_write_text(&writer, "\xED\xA0\x80"), TD_CORRUPT);
    td_heap_writer heap;
    td_heap_writer_init(&heap, 1000);
    for (int i = 0; i < 1000; i++)
        CHECK_EQ(td_write_nil(&heap.writer), TD_OK);
    CHECK_EQ(td_write_nil(&heap.writer), TD_TOO_LARGE);
    td_heap_writer_fini(&heap);
}

int main(void)
{
    RUN(every_length_of_int_has_one_form);
    RUN(an_empty_body_and_trailing_bytes_are_refused);
    RUN(float32_and_other_nans_are_refused);
    RUN(depth_32_passes_and_33_does_not);
    RUN(lengths_beyond_the_bytes_are_refused);
    RUN(only_shortest_timestamps_are_accepted);
    RUN(keys_are_strings_and_unique);
    RUN(a_wide_map_is_checked_for_duplicates);
    RUN(wide_maps_inside_wide_maps_keep_their_keys_apart);
    RUN(a_flood_of_two_keys_is_never_stored);
    RUN(a_pair_is_two_strict_values);
    RUN(canonical_sorts_keys_by_bytes_at_every_level);
    RUN(a_canonical_body_that_does_not_fit_says_so);
    RUN(a_reader_that_meets_another_type_does_not_move);
    RUN(integers_are_read_only_where_they_fit);
    RUN(a_key_is_found_wherever_it_stands);
    RUN(what_is_written_is_strict_and_reads_back);
    RUN(a_writer_keeps_its_first_failure);
    return TEST_RESULT;
}
