#include "topology/sysfs.h"

#include "base/test.h"
#include "topology/tree_test.h"

static tdi_sysfs at;

static void numbers_are_whole_or_nothing(void)
{
    static const struct {
        const char *text;
        int read;
        int64_t value;
    } cases[] = {{"12\n", 1, 12},
                 {" -1 ", 1, -1},
                 {"007", 1, 7},
                 {"", 0, 0},
                 {"\n", 0, 0},
                 {"1 2", 0, 0},
                 {"x", 0, 0},
                 {"-", 0, 0},
                 {"+1", 0, 0},
                 {"0x1", 0, 0},
                 {"999999999999999999", 1, INT64_C(999999999999999999)},
                 {"1000000000000000000", 0, 0}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        int64_t value = 0;
        tree_put(cases[i].text, "n");
        CHECK_EQ(tdi_sysfs_number(&at, &value, "%s/n", tree), cases[i].read);
        CHECK_EQ(value, cases[i].value);
    }
}

static void measures_and_sizes_are_in_range_or_unknown(void)
{
    static const struct {
        const char *text;
        uint32_t measure, kib;
    } cases[] = {
        {"5200000\n", 5200000, 0}, {"0", 0, 0},     {"-5", 0, 0},          {"1000000001", 0, 0},
        {"48K\n", 0, 48},          {"2M", 0, 2048}, {"1G", 0, 1048576},    {"-3K", 0, 0},
        {"999999999G", 0, 0},      {"K", 0, 0},     {"9999999999K", 0, 0}, {"3 K", 0, 0}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        tree_put(cases[i].text, "m");
        CHECK_EQ(tdi_sysfs_measure(&at, "%s/m", tree), cases[i].measure);
        CHECK_EQ(tdi_sysfs_kib(&at, "%s/m", tree), cases[i].kib);
    }
}

static void what_is_no_plain_short_file_is_not_read(void)
{
    static char big[TDI_TEXT_BYTES_MAX + 1];
    char path[512], link[512];
    memset(big, '1', sizeof big);
    CHECK_EQ(tdi_sysfs_text(&at, "%s/missing", tree), 0);
    CHECK_EQ(tdi_sysfs_text(&at, "%s", tree), 0);
    tree_put_bytes(big, sizeof big - 1, "most");
    CHECK_EQ(tdi_sysfs_text(&at, "%s/most", tree), 1);
    tree_put_bytes(big, sizeof big, "more");
    CHECK_EQ(tdi_sysfs_text(&at, "%s/more", tree), 0);
    tree_put_bytes("1\0002", 3, "zero");
    CHECK_EQ(tdi_sysfs_text(&at, "%s/zero", tree), 0);
    snprintf(path, sizeof path, "%s/fifo", tree);
    CHECK_EQ(mkfifo(path, 0600), 0);
    CHECK_EQ(tdi_sysfs_text(&at, "%s/fifo", tree), 0);
    snprintf(link, sizeof link, "%s/loop", tree);
    CHECK_EQ(symlink(link, link), 0);
    CHECK_EQ(tdi_sysfs_text(&at, "%s/loop", tree), 0);
    CHECK_EQ(tdi_sysfs_text(&at, "%s/%.*s", tree, TDI_PATH_BYTES_MAX, big), 0);
    CHECK_EQ(tdi_sysfs_text(&at, "/dev/zero"), 0);
}

static void numbered_entries_are_counted_below_the_bound(void)
{
    static const char *const names[] = {"cpu0", "cpu7",  "cpu07",   "cpu12x",  "cpu-1",
                                        "cpu",  "xcpu3", "cpu4095", "cpu4096", "cpu9999999999"};
    td_cpu_set found;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        tree_put("", "folder/%s", names[i]);
    tdi_sysfs_numbered(&at, &found, "cpu", TD_CPUS_MAX, "%s/folder", tree);
    CHECK_EQ(td_cpu_set_total(&found), 3);
    CHECK(td_cpu_set_has(&found, 0) && td_cpu_set_has(&found, 7) && td_cpu_set_has(&found, 4095));
    tdi_sysfs_numbered(&at, &found, "cpu", 7, "%s/folder", tree);
    CHECK_EQ(td_cpu_set_total(&found), 1);
    tdi_sysfs_numbered(&at, &found, "cpu", 7, "%s/nowhere", tree);
    CHECK_EQ(td_cpu_set_total(&found), 0);
}

int main(void)
{
    tree_make();
    RUN(numbers_are_whole_or_nothing);
    RUN(measures_and_sizes_are_in_range_or_unknown);
    RUN(what_is_no_plain_short_file_is_not_read);
    RUN(numbered_entries_are_counted_below_the_bound);
    tree_remove();
    return TEST_RESULT;
}
