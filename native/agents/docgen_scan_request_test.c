#include "docgen_scan_request.h"

#include "base/test.h"

static uint8_t body[4096];

static td_view one(const char *key, const char *text)
{
    td_writer out;
    td_writer_fixed(&out, body, sizeof body);
    td_write_map(&out, 1);
    td_write_text(&out, key);
    td_write_text(&out, text);
    return (td_view){body, td_writer_bytes(&out)};
}

static void a_path_is_enough_and_the_rest_has_defaults(void)
{
    tdi_scan_request request;
    tdi_scan_fault fault;
    REQUIRE(tdi_scan_request_read(one("path", "/a"), &request, &fault));
    CHECK_EQ(request.path.bytes, 2);
    CHECK(request.path_raw.data == NULL);
    CHECK(request.hash && request.lines && request.ignore && request.hidden);
    CHECK_EQ(request.max_files, 1000000);
    CHECK(request.max_file_bytes == UINT64_MAX);
    CHECK_EQ(request.extensions_count, 0);
}

static void faults_have_the_type_and_the_words_of_the_python_layer(void)
{
    tdi_scan_request request;
    tdi_scan_fault fault;
    CHECK(!tdi_scan_request_read((td_view){(const uint8_t *)"\xC0", 1}, &request, &fault));
    CHECK(strcmp(fault.type, "TypeError") == 0);
    CHECK(strcmp(fault.message, "payload: must be a dict") == 0);
    CHECK(!tdi_scan_request_read(one("path", "a\tb"), &request, &fault));
    CHECK(strcmp(fault.type, "ValueError") == 0);
    CHECK(strcmp(fault.message, "payload.path='a?b': must be an absolute path") == 0);
    CHECK(!tdi_scan_request_read(one("hash", ""), &request, &fault));
    CHECK(strcmp(fault.message, "payload.hash: must be a bool") == 0);
    CHECK(!tdi_scan_request_read((td_view){(const uint8_t *)"\x80", 1}, &request, &fault));
    CHECK(strcmp(fault.message, "payload.path: is missing, must be an absolute path") == 0);
}

static void every_cut_of_a_payload_is_refused(void)
{
    tdi_scan_request request;
    tdi_scan_fault fault;
    const td_view whole = one("path", "/a");
    for (size_t bytes = 0; bytes < whole.bytes; bytes++)
        CHECK(!tdi_scan_request_read((td_view){whole.data, bytes}, &request, &fault));
}

static void shown_text_is_cut_between_characters(void)
{
    char shown[8 + 4];
    const td_view text = {(const uint8_t *)"abcdefg\xC3\xA9", 9};
    CHECK(strcmp(tdi_scan_shown(text, 8, shown), "abcdefg...") == 0);
    CHECK(strcmp(tdi_scan_shown((td_view){(const uint8_t *)"a\nb", 3}, 8, shown), "a?b") == 0);
}

int main(void)
{
    RUN(a_path_is_enough_and_the_rest_has_defaults);
    RUN(faults_have_the_type_and_the_words_of_the_python_layer);
    RUN(every_cut_of_a_payload_is_refused);
    RUN(shown_text_is_cut_between_characters);
    return TEST_RESULT;
}
