#define _GNU_SOURCE
#include "docgen_scan_file.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/test.h"

static bool go_on(void *owner, size_t bytes)
{
    (void)owner;
    (void)bytes;
    return false;
}

static bool stop(void *owner, size_t bytes)
{
    (void)owner;
    (void)bytes;
    return true;
}

static int folder;

static void write_file(const char *name, const char *data, size_t bytes)
{
    const int fd = openat(folder, name, O_CREAT | O_TRUNC | O_WRONLY, 0600);
    CHECK(fd >= 0 && write(fd, data, bytes) == (ssize_t)bytes);
    close(fd);
}

static tdi_scan_error read_with(tdi_reading reading, const char *name, tdi_file_facts *facts)
{
    CHECK_EQ(tdi_reading_init(&reading), TD_OK);
    const tdi_scan_error error = tdi_file_read(&reading, folder, name, facts);
    tdi_reading_fini(&reading);
    return error;
}

static const tdi_reading all = {
    .lines = true, .sha256 = true, .bytes_max = UINT64_MAX, .stop = go_on};

static void the_published_digest_of_abc_comes_out(void)
{
    static const uint8_t want[4] = {0xBA, 0x78, 0x16, 0xBF}; /* FIPS 180-2, appendix B.1 */
    tdi_file_facts facts;
    write_file("abc", "abc", 3);
    CHECK_EQ(read_with(all, "abc", &facts), TDI_SCAN_FINE);
    CHECK(memcmp(facts.sha256, want, sizeof want) == 0);
    CHECK_EQ(facts.bytes, 3);
    CHECK_EQ(facts.lines, 1);
}

static void lines_are_counted_at_every_length(void)
{
    static char data[70000];
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = i % 7 == 3 ? '\n' : 'x';
    static const size_t lengths[] = {0, 1, 3, 4, 31, 32, 33, 63, 8159, 8160, 8161, 16384, 70000};
    for (size_t k = 0; k < sizeof lengths / sizeof lengths[0]; k++) {
        uint64_t want = 0;
        for (size_t i = 0; i < lengths[k]; i++)
            want += data[i] == '\n';
        want += lengths[k] > 0 && data[lengths[k] - 1] != '\n';
        tdi_file_facts facts;
        write_file("lines", data, lengths[k]);
        CHECK_EQ(read_with(all, "lines", &facts), TDI_SCAN_FINE);
        CHECK_EQ(facts.lines, want);
    }
}

static void what_is_no_plain_file_is_never_read(void)
{
    tdi_file_facts facts;
    CHECK_EQ(mkfifoat(folder, "pipe", 0600), 0);
    CHECK_EQ(symlinkat("abc", folder, "link"), 0);
    CHECK_EQ(read_with(all, "pipe", &facts), TDI_SCAN_FIFO);
    CHECK_EQ(read_with(all, "link", &facts), TDI_SCAN_CHANGED);
    CHECK_EQ(read_with(all, "none", &facts), TDI_SCAN_VANISHED);
    CHECK_EQ(read_with(all, "/dev/null", &facts), TDI_SCAN_CHAR_DEVICE);
}

static void limits_and_stops_end_the_reading(void)
{
    tdi_file_facts facts;
    tdi_reading small = all;
    small.bytes_max = 2;
    CHECK_EQ(read_with(small, "abc", &facts), TDI_SCAN_TOO_LARGE);
    write_file("big", "", 0);
    const int fd = openat(folder, "big", O_WRONLY);
    CHECK_EQ(ftruncate(fd, 4 << 20), 0);
    close(fd);
    tdi_reading stopped = all;
    stopped.stop = stop;
    CHECK_EQ(read_with(stopped, "big", &facts), TDI_SCAN_STOPPED);
}

int main(void)
{
    char path[] = "/tmp/docgen_scan_file_test.XXXXXX";
    if (mkdtemp(path) == NULL)
        return 1;
    folder = open(path, O_RDONLY | O_DIRECTORY);
    RUN(the_published_digest_of_abc_comes_out);
    RUN(lines_are_counted_at_every_length);
    RUN(what_is_no_plain_file_is_never_read);
    RUN(limits_and_stops_end_the_reading);
    static const char *const names[] = {"abc", "lines", "pipe", "link", "big"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        unlinkat(folder, names[i], 0);
    rmdir(path);
    return TEST_RESULT;
}
