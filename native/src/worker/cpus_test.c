#include "worker/cpus.h"

#include <sched.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/test.h"
#include "worker/pool.h"

#include <poll.h>

/* As the kernel tells everybody: an oracle apart from sched_getaffinity. */
static void told_by_proc(char *text, size_t bytes)
{
    char path[64], line[256];
    snprintf(path, sizeof path, "/proc/self/task/%ld/status", syscall(SYS_gettid));
    text[0] = '\0';
    FILE *file = fopen(path, "re");
    while (file != NULL && fgets(line, sizeof line, file) != NULL)
        if (sscanf(line, "Cpus_allowed_list: %63s", line) == 1)
            snprintf(text, bytes, "%.63s", line);
    if (file != NULL)
        fclose(file);
}

static td_view only(uint8_t mask[8], unsigned cpu)
{
    memset(mask, 0, 8);
    mask[cpu / 8] = (uint8_t)(1u << (cpu % 8));
    return (td_view){mask, 8};
}

/* The two lowest CPUs that are ours, both below 64; 0 where there are not two. */
static int two_cpus(unsigned cpus[2])
{
    cpu_set_t ours;
    int found = 0;
    sched_getaffinity(0, sizeof ours, &ours);
    for (unsigned cpu = 0; cpu < 64 && found < 2; cpu++)
        if (CPU_ISSET(cpu, &ours))
            cpus[found++] = cpu;
    return found == 2;
}

static void a_thread_goes_where_it_is_wished_and_back(void)
{
    unsigned ours[2];
    if (!two_cpus(ours)) {
        printf("skipped: one CPU\n");
        return;
    }
    char before[64], at[64], expected[16];
    uint8_t mask[8];
    tdi_cpus cpus;
    told_by_proc(before, sizeof before);
    tdi_cpus_init(&cpus);
    REQUIRE(cpus.known);
    for (int i = 0; i < 2; i++) {
        tdi_cpus_follow(&cpus, only(mask, ours[i]));
        told_by_proc(at, sizeof at);
        snprintf(expected, sizeof expected, "%u", ours[i]);
        CHECK(strcmp(at, expected) == 0);
        CHECK_EQ(sched_getcpu(), ours[i]);
    }
    tdi_cpus_follow(&cpus, (td_view){NULL, 0});
    told_by_proc(at, sizeof at);
    CHECK(strcmp(at, before) == 0);
    CHECK_EQ(cpus.refused, 0);
}

static void a_refused_wish_brings_it_back_to_its_own(void)
{
    unsigned ours[2] = {0, 0};
    uint8_t mask[8], far[TDI_CPUS_BYTES_MAX] = {0};
    char before[64], at[64];
    tdi_cpus cpus;
    told_by_proc(before, sizeof before);
    tdi_cpus_init(&cpus);
    far[TDI_CPUS_BYTES_MAX - 1] = 0x80; /* CPU 1023 */
    tdi_cpus_follow(&cpus, (td_view){far, sizeof far});
    CHECK_EQ(cpus.refused, 1);
    two_cpus(ours);
    tdi_cpus_follow(&cpus, only(mask, ours[0]));
    tdi_cpus_follow(&cpus, (td_view){far, sizeof far});
    CHECK_EQ(cpus.refused, 2);
    told_by_proc(at, sizeof at);
    CHECK(strcmp(at, before) == 0);
}

static void within_means_every_cpu_of_our_own(void)
{
    const tdi_cpus cpus = {.own = {0x06}, .known = true};
    const uint8_t more[8] = {0x0E}, same[8] = {0x06}, less[8] = {0x02}, other[8] = {0, 0x06};
    CHECK(tdi_cpus_within(&cpus, (td_view){NULL, 0}));
    CHECK(tdi_cpus_within(&cpus, (td_view){more, 8}));
    CHECK(tdi_cpus_within(&cpus, (td_view){same, 8}));
    CHECK(!tdi_cpus_within(&cpus, (td_view){less, 8}));
    CHECK(!tdi_cpus_within(&cpus, (td_view){other, 8}));
}

typedef struct spy {
    tdi_job job;
    char at[64];
} spy;

static void look(tdi_job *job)
{
    spy *mine = (spy *)job;
    told_by_proc(mine->at, sizeof mine->at);
}

static void a_pool_thread_follows_each_job(void)
{
    unsigned ours[2];
    char before[64], expected[16];
    uint8_t first[8], second[8];
    tdi_pool *pool;
    if (!two_cpus(ours))
        return;
    told_by_proc(before, sizeof before);
    REQUIRE(tdi_pool_create(1, 8, &pool, NULL) == TD_OK);
    spy jobs[4] = {{.job = {.perform = look, .cpus = only(first, ours[0])}},
                   {.job = {.perform = look, .cpus = only(second, ours[1])}},
                   {.job = {.perform = look}},
                   {.job = {.perform = look, .cpus = only(first, ours[0])}}};
    for (int i = 0; i < 4; i++)
        CHECK_EQ(tdi_pool_submit(pool, &jobs[i].job), TD_OK);
    int left = 4;
    const uint64_t until_ns = tdi_now_ns() + 10 * TDI_NS_PER_S;
    while (left > 0 && tdi_now_ns() < until_ns) {
        struct pollfd wanted = {.fd = tdi_pool_fd(pool), .events = POLLIN};
        poll(&wanted, 1, 1000);
        for (tdi_job *job = tdi_pool_take(pool); job != NULL; job = job->next)
            left--;
    }
    REQUIRE(left == 0);
    for (int i = 0; i < 4; i++) {
        snprintf(expected, sizeof expected, "%u", ours[i == 1]);
        CHECK(strcmp(jobs[i].at, i == 2 ? before : expected) == 0);
    }
    tdi_pool_destroy(pool, UINT64_MAX);
}

int main(void)
{
    RUN(a_thread_goes_where_it_is_wished_and_back);
    RUN(a_refused_wish_brings_it_back_to_its_own);
    RUN(within_means_every_cpu_of_our_own);
    RUN(a_pool_thread_follows_each_job);
    return TEST_RESULT;
}
