/* What an action's return value means, and what its failure looks like on the wire. */
#include "strict/verdict.h"

#include <string.h>

#include "base/test.h"

static uint8_t storage[64];

static td_writer holding(const char *bytes, size_t count)
{
    td_writer writer;
    td_writer_fixed(&writer, storage, sizeof storage);
    memcpy(writer.at, bytes, count);
    writer.at += count;
    return writer;
}

static tdi_verdict judged(td_status returned, bool failed, td_writer output)
{
    return tdi_judge(returned, TD_OK, failed, &output, sizeof storage, true);
}

static void one_value_and_ok_is_success(void)
{
    CHECK_EQ(judged(TD_OK, false, holding("\x92\x01\x02", 3)).status, TD_OK);
    CHECK_EQ(judged(TD_OK, false, holding("\xC0", 1)).status, TD_OK);
}

static void anything_but_one_value_is_our_name_for_the_actions_bug(void)
{
    static const struct {
        const char *bytes;
        size_t count;
    } cases[] = {{"", 0}, {"\x01\x02", 2}, {"\x92\x01", 2}, {"\xC1", 1}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const tdi_verdict verdict = judged(TD_OK, false, holding(cases[i].bytes, cases[i].count));
        CHECK_EQ(verdict.status, TD_FAILED);
        CHECK_EQ(strcmp(verdict.type, "InternalError"), 0);
    }
}

static void strictness_is_asked_for(void)
{
    td_writer doubled = holding("\x82\xA1k\x01\xA1k\x02", 7); /* a key twice */
    CHECK_EQ(tdi_judge(TD_OK, TD_OK, false, &doubled, 64, true).status, TD_FAILED);
    CHECK_EQ(tdi_judge(TD_OK, TD_OK, false, &doubled, 64, false).status, TD_OK);
}

static void a_failure_needs_its_call_and_its_status(void)
{
    CHECK(judged(TD_FAILED, true, holding("", 0)).type == NULL);
    CHECK_EQ(judged(TD_FAILED, true, holding("", 0)).status, TD_FAILED);
    const tdi_verdict silent = judged(TD_FAILED, false, holding("", 0));
    CHECK(strstr(silent.what, "without td_fail()") != NULL);
    const tdi_verdict torn = judged(TD_OK, true, holding("\xC0", 1));
    CHECK(strstr(torn.what, "called td_fail() and returned TD_OK") != NULL);
    CHECK_EQ(torn.status, TD_FAILED);
}

static void to_stop_counts_only_where_somebody_asked(void)
{
    td_writer none = holding("", 0);
    CHECK_EQ(tdi_judge(TD_CANCELLED, TD_CANCELLED, false, &none, 64, true).status, TD_CANCELLED);
    CHECK_EQ(tdi_judge(TD_CANCELLED, TD_TIMED_OUT, false, &none, 64, true).status, TD_TIMED_OUT);
    CHECK_EQ(tdi_judge(TD_CANCELLED, TD_OK, false, &none, 64, true).status, TD_FAILED);
}

static void an_output_beyond_its_bounds_is_named(void)
{
    td_writer full = holding("\xC0", 1);
    full.status = TD_TOO_LARGE;
    CHECK_EQ(judged(TD_OK, false, full).status, TD_TOO_LARGE);
    full.status = TD_BUSY; /* over a quota: it ran, so nobody may be invited to repeat it */
    CHECK_EQ(judged(TD_OK, false, full).status, TD_TOO_LARGE);
    full.status = TD_ERR_MEMORY;
    CHECK_EQ(strcmp(judged(TD_OK, false, full).type, "MemoryError"), 0);
    td_writer three = holding("\x92\x01\x02", 3);
    CHECK_EQ(tdi_judge(TD_OK, TD_OK, false, &three, 2, true).status, TD_TOO_LARGE);
    CHECK_EQ(tdi_judge(TD_OK, TD_OK, false, &three, 3, true).status, TD_OK);
}

static void read_pair(const uint8_t *data, size_t bytes, bool bare, char type[200],
                      char message[1100])
{
    td_reader reader = td_reader_of(data, bytes);
    const char *text = NULL;
    size_t length = 0;
    size_t pairs = 0;
    if (!bare) {
        CHECK_EQ(td_read_map(&reader, &pairs), TD_OK);
        CHECK_EQ(pairs, 2);
        CHECK_EQ(td_read_str(&reader, &text, &length), TD_OK);
        CHECK(length == 4 && memcmp(text, "type", 4) == 0);
    }
    CHECK_EQ(td_read_str(&reader, &text, &length), TD_OK);
    memcpy(type, text, length);
    type[length] = '\0';
    if (!bare)
        CHECK_EQ(td_read_str(&reader, &text, &length), TD_OK);
    CHECK_EQ(td_read_str(&reader, &text, &length), TD_OK);
    memcpy(message, text, length);
    message[length] = '\0';
    CHECK_EQ((size_t)(reader.at - data), bytes);
}

static void a_failure_is_two_texts_cut_and_cleaned(void)
{
    uint8_t bytes[TDI_FAILURE_BYTES_MAX];
    char type[200], message[1100], wide[3000];
    for (int bare = 0; bare < 2; bare++) {
        uint32_t n = tdi_failure_encode(bytes, sizeof bytes, bare, NULL, NULL);
        read_pair(bytes, n, bare, type, message);
        CHECK_EQ(strcmp(type, "Error"), 0);
        CHECK_EQ(strcmp(message, ""), 0);
        n = tdi_failure_encode(bytes, sizeof bytes, bare, "ValueError", "bad \xFF byte");
        read_pair(bytes, n, bare, type, message);
        CHECK_EQ(strcmp(message, "bad ? byte"), 0);
        for (size_t i = 0; i + 1 < sizeof wide; i += 2)
            memcpy(wide + i, "\xC3\xA9", 2);
        wide[sizeof wide - 1] = wide[sizeof wide - 2] = '\0';
        n = tdi_failure_encode(bytes, sizeof bytes, bare, wide, wide);
        read_pair(bytes, n, bare, type, message);
        CHECK_EQ(strlen(type), TDI_FAILURE_TYPE_MAX);
        CHECK_EQ(strlen(message), TDI_FAILURE_TEXT_MAX - 1); /* not inside a character */
        CHECK(strchr(message, '?') == NULL);
    }
}

static void a_verdicts_message_names_the_action(void)
{
    uint8_t bytes[TDI_FAILURE_BYTES_MAX];
    char type[200], message[1100];
    const tdi_verdict verdict = judged(TD_CANCELLED, false, holding("", 0));
    const uint32_t n = tdi_verdict_encode(bytes, sizeof bytes, false, verdict, "quotes", "rate");
    read_pair(bytes, n, false, type, message);
    CHECK_EQ(strcmp(type, "InternalError"), 0);
    CHECK_EQ(strcmp(message, "quotes.rate: stopped though nobody asked"), 0);
}

int main(void)
{
    RUN(one_value_and_ok_is_success);
    RUN(anything_but_one_value_is_our_name_for_the_actions_bug);
    RUN(strictness_is_asked_for);
    RUN(a_failure_needs_its_call_and_its_status);
    RUN(to_stop_counts_only_where_somebody_asked);
    RUN(an_output_beyond_its_bounds_is_named);
    RUN(a_failure_is_two_texts_cut_and_cleaned);
    RUN(a_verdicts_message_names_the_action);
    return TEST_RESULT;
}
