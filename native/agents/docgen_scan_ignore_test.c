#include "docgen_scan_ignore.h"

#include <stdlib.h>

#include "base/test.h"

static tdi_rules *rules_of(const char *text, size_t base_bytes, tdi_rules *outer)
{
    tdi_rules *rules = NULL;
    CHECK_EQ(tdi_rules_create((const uint8_t *)text, strlen(text), base_bytes, outer, &rules),
             TD_OK);
    return rules;
}

static bool ignores(tdi_rules *rules, const char *path, bool is_dir)
{
    const char *slash = strrchr(path, '/');
    const size_t name_bytes = strlen(slash == NULL ? path : slash + 1);
    return tdi_rules_ignore(rules, (const uint8_t *)path, strlen(path), name_bytes, is_dir);
}

static bool alone(const char *text, const char *path, bool is_dir)
{
    tdi_rules *rules = rules_of(text, 0, NULL);
    const bool ignored = ignores(rules, path, is_dir);
    tdi_rules_destroy(rules);
    return ignored;
}

static void the_last_match_decides(void)
{
    CHECK(alone("*.o\n!a.o\n", "b.o", false));
    CHECK(!alone("*.o\n!a.o\n", "a.o", false));
    CHECK(alone("*.o\n!a.o\na.*", "a.o", false));
}

static void a_slash_anchors_and_a_last_slash_means_directories(void)
{
    CHECK(alone("/a", "a", false));
    CHECK(!alone("/a", "b/a", false));
    CHECK(alone("a", "b/a", false));
    CHECK(alone("b/a", "b/a", false));
    CHECK(!alone("b/a", "c/b/a", false));
    CHECK(alone("a/", "b/a", true));
    CHECK(!alone("a/", "b/a", false));
}

static void lines_are_read_as_git_reads_them(void)
{
    CHECK(alone("\xEF\xBB\xBF"
                "a",
                "a", false));
    CHECK(alone("a\r\n", "a", false));
    CHECK(alone("a  ", "a", false));
    CHECK(alone("a\\ ", "a ", false));
    CHECK(!alone("a\\\\ ", "a ", false));
    CHECK(!alone("#a", "#a", false));
    CHECK(alone("\\#a", "#a", false));
    CHECK(alone("a**/b", "ab", false));
    CHECK(!alone("", "a", false));
    CHECK(!alone("!\n/\n//\n \n", "a", true));
}

static void nearer_files_win_and_farther_ones_still_count(void)
{
    tdi_rules *top = rules_of("*.o\nb/x\n", 0, NULL);
    tdi_rules *near = rules_of("!k.o\n/y\n", 2, top);
    CHECK_EQ(tdi_rules_bytes(near), 8 + 8);
    CHECK(!ignores(near, "b/k.o", false));
    CHECK(ignores(near, "b/j.o", false));
    CHECK(ignores(near, "b/x", false));
    CHECK(ignores(near, "b/y", false));
    CHECK(!ignores(near, "b/c/y", false));
    CHECK(!ignores(NULL, "a", false));
    tdi_rules_destroy(near);
    tdi_rules_destroy(top);
}

int main(void)
{
    RUN(the_last_match_decides);
    RUN(a_slash_anchors_and_a_last_slash_means_directories);
    RUN(lines_are_read_as_git_reads_them);
    RUN(nearer_files_win_and_farther_ones_still_count);
    return TEST_RESULT;
}
