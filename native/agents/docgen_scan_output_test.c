#include "docgen_scan_output.h"

#include "base/test.h"

static bool replaces(const char *text, const char *want)
{
    uint8_t out[64];
    const size_t bytes = tdi_utf8_replace((const uint8_t *)text, strlen(text), out);
    return bytes == strlen(want) && memcmp(out, want, bytes) == 0;
}

#define R "\xEF\xBF\xBD"

/* Unicode 15, table 3-8 to 3-11. */
static void each_maximal_part_becomes_one_replacement(void)
{
    CHECK(replaces("a\xC3\xA9", "a\xC3\xA9"));
    CHECK(replaces("\xC0\xAF\xE0\x80\xBF\xF0\x81\x82\x41", R R R R R R R R "A"));
    CHECK(replaces("\xED\xA0\x80\xED\xBF\xBF\xED\xAF\x41", R R R R R R R R "A"));
    CHECK(replaces("\xF4\x91\x92\x93\xFF\x41\x80\xBF\x42", R R R R R "A" R R "B"));
    CHECK(replaces("\xE1\x80\xE2\xF0\x91\x92\xF1\xBF\x41", R R R R "A"));
    CHECK(replaces("\xE2\x82", R));
}

static void what_is_replaced_is_utf8(void)
{
    for (unsigned a = 1; a < 256; a++)
        for (unsigned b = 1; b < 256; b++)
            for (unsigned c = 0; c < 256; c += 5) {
                const uint8_t text[3] = {(uint8_t)a, (uint8_t)b, (uint8_t)c};
                uint8_t out[9];
                const size_t bytes = tdi_utf8_replace(text, sizeof text, out);
                CHECK(bytes <= sizeof out && td_utf8_valid(out, bytes));
                if (td_utf8_valid(text, sizeof text))
                    CHECK(bytes == sizeof text && memcmp(text, out, bytes) == 0);
            }
}

static void add(tdi_walk *walk, const char *path, tdi_scan_error error)
{
    const tdi_found found = {
        .path_at = walk->paths.bytes, .path_bytes = strlen(path), .error = error};
    CHECK(tdi_grow_add(&walk->paths, path, strlen(path)));
    CHECK(tdi_grow_add(&walk->found, &found, sizeof found));
}

static void entries_come_sorted_by_their_bytes(void)
{
    static const char *const want[] = {"a", "a-b", "a.b", "a/b", "\xFF"};
    tdi_scan_request request = {.path = {(const uint8_t *)"/r", 2}};
    tdi_walk walk = {.request = &request};
    add(&walk, "\xFF", TDI_SCAN_FINE);
    add(&walk, "a/b", TDI_SCAN_FINE);
    add(&walk, "a", TDI_SCAN_FINE);
    add(&walk, "a.b", TDI_SCAN_FINE);
    add(&walk, "a-b", TDI_SCAN_FINE);
    td_heap_writer out;
    td_heap_writer_init(&out, 1 << 16);
    CHECK_EQ(tdi_scan_write(&walk, &out.writer), TD_OK);
    td_reader reader = td_reader_of(out.writer.start, td_writer_bytes(&out.writer)), files;
    size_t count = 0;
    CHECK_EQ(td_map_find(reader, "files", &files), TD_OK);
    CHECK_EQ(td_read_array(&files, &count), TD_OK);
    CHECK_EQ(count, 5);
    for (size_t i = 0; i < count; i++) {
        td_reader value;
        const char *text = NULL;
        size_t bytes = 0;
        CHECK_EQ(td_map_find(files, "path", &value), TD_OK);
        CHECK_EQ(td_read_str(&value, &text, &bytes), TD_OK);
        if (i < 4)
            CHECK(bytes == strlen(want[i]) && memcmp(text, want[i], bytes) == 0);
        else
            CHECK(td_map_find(files, "path_raw", &value) == TD_OK);
        CHECK_EQ(td_skip(&files), TD_OK);
    }
    td_heap_writer_fini(&out);
    tdi_grow_fini(&walk.found);
    tdi_grow_fini(&walk.paths);
}

int main(void)
{
    RUN(each_maximal_part_becomes_one_replacement);
    RUN(what_is_replaced_is_utf8);
    RUN(entries_come_sorted_by_their_bytes);
    return TEST_RESULT;
}
