#include "topology/cpu_set.h"

#include "base/test.h"

static char text[TD_CPU_LIST_BYTES_MAX];

static void lists_are_read_and_written(void)
{
    static const struct {
        const char *given, *shown;
    } cases[] = {
        {"", ""},           {"\n", ""},      {"0", "0"},         {"0-3,8\n", "0-3,8"},
        {"5,1-1,5", "1,5"}, {" 007\t", "7"}, {"63-64", "63-64"}, {"4095-99999999999999", "4095"},
        {"4096", ""},       {"2,0,1", "0-2"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        td_cpu_set set;
        CHECK_EQ(td_cpu_set_parse(cases[i].given, &set, NULL), TD_OK);
        CHECK_EQ(td_cpu_set_format(&set, text), strlen(cases[i].shown));
        CHECK(strcmp(text, cases[i].shown) == 0);
    }
}

static void what_is_no_list_changes_nothing(void)
{
    static const char *const cases[] = {
        "a",      "1,",   ",1",  "3-1", "1-",    "-1", "1--2",
        "1 2",    "1,,2", "0x1", "+1",  "1-2-3", ",",  "9999999999999999999",
        "0-7:2/4"};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        td_cpu_set set = {{5}};
        int high = 7;
        CHECK_EQ(td_cpu_set_parse(cases[i], &set, &high), TD_ERR_ARGUMENT);
        CHECK_EQ(set.words[0], 5);
        CHECK_EQ(high, 7);
    }
}

static void high_numbers_are_noticed(void)
{
    td_cpu_set set;
    int high;
    CHECK_EQ(td_cpu_set_parse("0-4096", &set, &high), TD_OK);
    CHECK_EQ(high, 1);
    CHECK_EQ(td_cpu_set_total(&set), TD_CPUS_MAX);
    CHECK_EQ(td_cpu_set_parse("0-4095", &set, &high), TD_OK);
    CHECK_EQ(high, 0);
    CHECK_EQ(td_cpu_set_format(&set, text), strlen("0-4095"));
}

static void the_longest_list_fits(void)
{
    td_cpu_set set = {{0}}, back;
    for (uint32_t cpu = 0; cpu < TD_CPUS_MAX; cpu += 3) { /* pairs: the longest there is */
        td_cpu_set_add(&set, cpu);
        td_cpu_set_add(&set, cpu + 1);
    }
    CHECK(td_cpu_set_format(&set, text) < TD_CPU_LIST_BYTES_MAX);
    CHECK_EQ(td_cpu_set_parse(text, &back, NULL), TD_OK);
    CHECK(memcmp(&set, &back, sizeof set) == 0);
}

static void walking_meets_each_cpu_once(void)
{
    td_cpu_set set;
    uint32_t sum = 0, total = 0;
    td_cpu_set_parse("0,63,64,127-128,4095", &set, NULL);
    for (uint32_t cpu = 0; (cpu = td_cpu_set_next(&set, cpu)) < TD_CPUS_MAX; cpu++) {
        sum += cpu;
        total++;
    }
    CHECK_EQ(total, td_cpu_set_total(&set));
    CHECK_EQ(sum, 0 + 63 + 64 + 127 + 128 + 4095);
    CHECK_EQ(td_cpu_set_next(&set, TD_CPUS_MAX), TD_CPUS_MAX);
    CHECK_EQ(td_cpu_set_has(&set, 5000), 0);
    td_cpu_set_add(&set, 5000); /* left out */
    CHECK_EQ(td_cpu_set_total(&set), total);
}

int main(void)
{
    RUN(lists_are_read_and_written);
    RUN(what_is_no_list_changes_nothing);
    RUN(high_numbers_are_noticed);
    RUN(the_longest_list_fits);
    RUN(walking_meets_each_cpu_once);
    return TEST_RESULT;
}
