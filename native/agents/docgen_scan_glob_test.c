#include "docgen_scan_glob.h"

#include <stdlib.h>

#include "base/test.h"

static bool matches(const char *pattern, const char *text, bool pathname)
{
    tdi_glob *glob = NULL;
    if (tdi_glob_create((const uint8_t *)pattern, strlen(pattern), pathname, &glob) != TD_OK)
        return false;
    const bool hit = glob != NULL && tdi_glob_matches(glob, (const uint8_t *)text, strlen(text));
    tdi_glob_destroy(glob);
    return hit;
}

static void stars_stop_at_slashes_and_double_stars_do_not(void)
{
    CHECK(matches("*", "ab", true));
    CHECK(!matches("*", "a/b", true));
    CHECK(matches("*", "a/b", false));
    CHECK(matches("a/**", "a/b/c", true));
    CHECK(!matches("a/**", "a", true));
    CHECK(matches("**/b", "b", true));
    CHECK(matches("**/b", "a/c/b", true));
    CHECK(!matches("**/b", "ab", true));
    CHECK(matches("a/**/b", "a/b", true));
    CHECK(matches("a/**/b", "a/x/y/b", true));
    CHECK(!matches("a/**/b", "a/xb", true));
    CHECK(matches("**/**/b", "b", true));
    CHECK(!matches("a**b", "a/b", true)); /* not alone between slashes: one star */
    CHECK(!matches("?", "/", true));
    CHECK(!matches("[/]", "/", true));
}

static void brackets_are_as_git_reads_them(void)
{
    CHECK(matches("[]-]", "]", true));
    CHECK(matches("[!a]", "b", true));
    CHECK(!matches("[^a]", "a", true));
    CHECK(matches("[a-c]", "b", true));
    CHECK(!matches("[c-a]", "b", true));
    CHECK(matches("[a-]", "-", true));
    CHECK(matches("[[:alpha:]9]", "9", true));
    CHECK(!matches("[[:space:]]", "\v", true));
    CHECK(matches("[[:]", ":", true));
    CHECK(!matches("[[:nothing:]a]", "a", true));
    CHECK(!matches("[a", "a", true));
    CHECK(!matches("a\\", "a", true));
    CHECK(matches("[\\]]", "]", true));
    CHECK(matches("\\*", "*", true));
    CHECK(!matches("\\*", "a", true));
}

static void every_byte_can_be_told_apart(void)
{
    for (int byte = 1; byte < 256; byte++) {
        const char text[] = {(char)byte, 0};
        CHECK(matches("[!/]", text, true) == (byte != '/'));
        CHECK(matches("?", text, false));
    }
}

/* The same pattern, short and padded beyond one word and two, must give the same verdicts. */
static void sets_of_several_words_agree_with_one(void)
{
    static const char *const patterns[] = {"*a", "a*", "**/a", "a/**/b", "[ab]*", "?a", "*/a"};
    static const char *const texts[] = {"a", "b", "aa", "a/a", "a/b", "a/x/b", "xa", "b/b/a"};
    for (size_t pad = 55; pad < 140; pad++) {
        char before[160];
        memset(before, 'p', pad);
        before[pad] = '\0';
        for (size_t i = 0; i < sizeof patterns / sizeof patterns[0]; i++)
            for (size_t k = 0; k < sizeof texts / sizeof texts[0]; k++) {
                char pattern[200], text[200];
                snprintf(pattern, sizeof pattern, "%s/%s", before, patterns[i]);
                snprintf(text, sizeof text, "%s/%s", before, texts[k]);
                CHECK(matches(pattern, text, true) == matches(patterns[i], texts[k], true));
            }
    }
}

/* A matcher that backtracks would need more steps than there are atoms for this. */
static void many_stars_end(void)
{
    char pattern[2001], text[4097];
    for (int i = 0; i < 1000; i++)
        memcpy(pattern + 2 * i, "*a", 2);
    pattern[2000] = '\0';
    memset(text, 'a', sizeof text - 2);
    text[4095] = 'b';
    text[4096] = '\0';
    CHECK(!matches(pattern, text, true));
    text[4095] = 'a';
    CHECK(matches(pattern, text, true));
}

int main(void)
{
    RUN(stars_stop_at_slashes_and_double_stars_do_not);
    RUN(brackets_are_as_git_reads_them);
    RUN(every_byte_can_be_told_apart);
    RUN(sets_of_several_words_agree_with_one);
    RUN(many_stars_end);
    return TEST_RESULT;
}
