#include "shm/statistics.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/test.h"

static const char *table;

static void buckets_are_powers_of_two(void)
{
    CHECK_EQ(tdi_statistics_bucket(0), 0);
    CHECK_EQ(tdi_statistics_bucket(1), 0);
    CHECK_EQ(tdi_statistics_bucket(2), 1);
    CHECK_EQ(tdi_statistics_bucket(3), 1);
    CHECK_EQ(tdi_statistics_bucket(1024), 10);
    CHECK_EQ(tdi_statistics_bucket(2047), 10);
    CHECK_EQ(tdi_statistics_bucket(UINT64_MAX), 63);
}

static void readers_can_only_read(void)
{
    tdi_error error = {0};
    tdi_statistics *page;
    int fd;
    CHECK_EQ(tdi_statistics_create(7, 9, &fd, &page, &error), TD_OK);
    struct stat about;
    CHECK_EQ(fstat(fd, &about), 0);
    CHECK_EQ(about.st_size, (off_t)sizeof *page);
    CHECK(mmap(NULL, sizeof *page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED);
    CHECK_EQ(write(fd, "x", 1), -1);
    CHECK_EQ(ftruncate(fd, 0), -1);
    CHECK_EQ(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), -1);
    const tdi_statistics *seen = mmap(NULL, sizeof *page, PROT_READ, MAP_SHARED, fd, 0);
    CHECK(seen != MAP_FAILED);
    CHECK_EQ(memcmp(seen->magic, "TANDEMST", 8), 0);
    CHECK_EQ(seen->pid, 7);
    atomic_store(&page->block[0].words[TDI_STATISTIC_CALLS], 41);
    CHECK_EQ(atomic_load(&seen->block[0].words[TDI_STATISTIC_CALLS]), 41);
    close(fd);
}

/* protocol/statistics.tsv is the list that Python reads, too. */
static void names_are_those_of_the_protocol(void)
{
    FILE *file = fopen(table, "re");
    CHECK(file != NULL);
    char line[256], name[64];
    unsigned index, rows = 0;
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        if (sscanf(line, "%u %63s", &index, name) != 2)
            continue;
        CHECK_EQ(index, rows);
        CHECK(index < TDI_STATISTICS_TOTAL && strcmp(tdi_statistics_names[index], name) == 0);
        rows++;
    }
    CHECK_EQ(rows, TDI_STATISTICS_TOTAL);
    if (file != NULL)
        fclose(file);
}

int main(int argc, char **argv)
{
    table = argc > 1 ? argv[1] : "protocol/statistics.tsv";
    RUN(buckets_are_powers_of_two);
    RUN(readers_can_only_read);
    RUN(names_are_those_of_the_protocol);
    return TEST_RESULT;
}
