#include "wire/extension.h"

#include <stdlib.h>

#include "base/test.h"

static void records_come_back(void)
{
    uint8_t bytes[TDI_EXT_BYTES_MAX];
    uint8_t units = 0;
    const uint64_t total = 123456789, fence = 42;
    CHECK_EQ(tdi_extension_add(bytes, &units, TDI_EXT_KEY, "key-1", 5), TD_OK);
    CHECK_EQ(tdi_extension_add(bytes, &units, TDI_EXT_TOTAL, &total, 8), TD_OK);
    CHECK_EQ(tdi_extension_add(bytes, &units, TDI_EXT_FENCE, &fence, 8), TD_OK);
    CHECK_EQ(tdi_extension_add(bytes, &units, TDI_EXT_INPUTS | TDI_EXT_CRITICAL, NULL, 0), TD_OK);
    tdi_extension parsed;
    CHECK_EQ(tdi_extension_parse(bytes, 8u * units, &parsed), TD_OK);
    CHECK(parsed.key.bytes == 5 && memcmp(parsed.key.data, "key-1", 5) == 0);
    CHECK_EQ(parsed.total_bytes, total);
    CHECK_EQ(parsed.fence, fence);
    CHECK(parsed.present & 1u << TDI_EXT_INPUTS);
    CHECK(!(parsed.present & 1u << TDI_EXT_TRACE));
}

static td_status parse_one(uint16_t type, const void *data, size_t bytes)
{
    uint8_t record[TDI_EXT_BYTES_MAX], units = 0;
    tdi_extension parsed;
    CHECK_EQ(tdi_extension_add(record, &units, type, data, bytes), TD_OK);
    return tdi_extension_parse(record, 8u * units, &parsed);
}

static void unknown_types_pass_unless_they_ask_not_to(void)
{
    CHECK_EQ(parse_one(100, "x", 1), TD_OK);
    CHECK_EQ(parse_one(100 | TDI_EXT_CRITICAL, "x", 1), TD_CORRUPT);
    CHECK_EQ(parse_one(0, "x", 1), TD_CORRUPT);
}

static void lengths_are_checked(void)
{
    uint8_t data[136] = {0};
    CHECK_EQ(parse_one(TDI_EXT_KEY, data, 0), TD_CORRUPT);
    CHECK_EQ(parse_one(TDI_EXT_KEY, data, 64), TD_OK);
    CHECK_EQ(parse_one(TDI_EXT_KEY, data, 65), TD_CORRUPT);
    CHECK_EQ(parse_one(TDI_EXT_TOTAL, data, 7), TD_CORRUPT);
    CHECK_EQ(parse_one(TDI_EXT_TRACE, data, 25), TD_OK);
    CHECK_EQ(parse_one(TDI_EXT_CPUS, data, 0), TD_CORRUPT);
    CHECK_EQ(parse_one(TDI_EXT_CPUS, data, 12), TD_CORRUPT);
    CHECK_EQ(parse_one(TDI_EXT_CPUS, data, 128), TD_OK);
    CHECK_EQ(parse_one(TDI_EXT_CPUS, data, 136), TD_CORRUPT);
    CHECK_EQ(parse_one(TDI_EXT_INPUTS, data, 0), TD_CORRUPT); /* must be critical */
    CHECK_EQ(parse_one(TDI_EXT_INPUTS | TDI_EXT_CRITICAL, data, 1), TD_CORRUPT);
}

static void twice_cut_short_or_dirty_is_corrupt(void)
{
    uint8_t bytes[TDI_EXT_BYTES_MAX], units = 0;
    tdi_extension parsed;
    tdi_extension_add(bytes, &units, TDI_EXT_KEY, "a", 1);
    tdi_extension_add(bytes, &units, TDI_EXT_KEY, "b", 1);
    CHECK_EQ(tdi_extension_parse(bytes, 8u * units, &parsed), TD_CORRUPT);
    bytes[6] = 1; /* padding */
    CHECK_EQ(tdi_extension_parse(bytes, 8, &parsed), TD_CORRUPT);
    uint8_t lies[8] = {TDI_EXT_KEY, 0, 60, 0};
    CHECK_EQ(tdi_extension_parse(lies, 8, &parsed), TD_CORRUPT);
    CHECK_EQ(tdi_extension_parse(lies, 4, &parsed), TD_CORRUPT);
}

static void the_builder_stops_at_256_bytes(void)
{
    uint8_t bytes[TDI_EXT_BYTES_MAX], units = 0, data[64] = {0};
    int added = 0;
    while (tdi_extension_add(bytes, &units, (uint16_t)(100 + added), data, 60) == TD_OK)
        added++;
    CHECK_EQ(added, 4);
    CHECK_EQ(units, TDI_EXT_UNITS_MAX);
}

static void a_pair_is_cut_where_its_payload_ends(void)
{
    const uint8_t pair[] = {0x92, 0x93, 1, 2, 0xA1, 'x', 0x81, 0xA1, 'k', 0xC0};
    td_view payload, inputs;
    CHECK_EQ(tdi_body_split((td_view){pair, sizeof pair}, &payload, &inputs), TD_OK);
    CHECK(payload.data == pair + 1 && payload.bytes == 5);
    CHECK(inputs.data == pair + 6 && inputs.bytes == 4);
    for (size_t cut = 0; cut < sizeof pair; cut++)
        CHECK_EQ(tdi_body_split((td_view){pair, cut}, &payload, &inputs), TD_CORRUPT);
}

static void nothing_is_read_past_a_short_span(void)
{
    tdi_extension parsed;
    td_view payload, inputs;
    for (size_t bytes = 0; bytes < 3; bytes++) {
        uint8_t *exact = malloc(bytes + 1); /* a sanitizer sees a read past its end */
        memset(exact, 0, bytes + 1);
        if (bytes > 0) {
            CHECK_EQ(tdi_extension_parse(exact + 1, bytes, &parsed), TD_CORRUPT);
            exact[1] = 0x92;
        }
        CHECK_EQ(tdi_body_split((td_view){exact + 1, bytes}, &payload, &inputs), TD_CORRUPT);
        free(exact);
    }
    uint8_t bytes[TDI_EXT_BYTES_MAX], units = 0;
    CHECK_EQ(tdi_extension_add(bytes, &units, 100, bytes, SIZE_MAX), TD_TOO_LARGE);
    CHECK_EQ(tdi_extension_add(bytes, &units, 100, bytes, SIZE_MAX - 8), TD_TOO_LARGE);
}

static void a_pair_has_two_items(void)
{
    td_view payload, inputs;
    static const uint8_t three[] = {0x93, 0xC0, 0x80, 0xC0}, of_three[] = {0x93, 0xC0, 0x80};
    static const uint8_t one[] = {0x91, 0xC0, 0x80}, map[] = {0x82, 0xC0, 0x80};
    CHECK_EQ(tdi_body_split((td_view){three, sizeof three}, &payload, &inputs), TD_CORRUPT);
    CHECK_EQ(tdi_body_split((td_view){of_three, sizeof of_three}, &payload, &inputs), TD_CORRUPT);
    CHECK_EQ(tdi_body_split((td_view){one, sizeof one}, &payload, &inputs), TD_CORRUPT);
    CHECK_EQ(tdi_body_split((td_view){map, sizeof map}, &payload, &inputs), TD_CORRUPT);
}

int main(void)
{
    RUN(records_come_back);
    RUN(unknown_types_pass_unless_they_ask_not_to);
    RUN(lengths_are_checked);
    RUN(twice_cut_short_or_dirty_is_corrupt);
    RUN(the_builder_stops_at_256_bytes);
    RUN(a_pair_is_cut_where_its_payload_ends);
    RUN(nothing_is_read_past_a_short_span);
    RUN(a_pair_has_two_items);
    return TEST_RESULT;
}
