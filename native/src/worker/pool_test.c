#include "worker/pool.h"

#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/test.h"

typedef struct task {
    tdi_job job;
    int number;
} task;

static _Atomic int gate_open, performed;
static _Atomic int order[64];

static void wait_for_gate(tdi_job *job)
{
    (void)job;
    while (!gate_open)
        usleep(100);
}

static void note(tdi_job *job)
{
    order[performed++] = ((task *)job)->number;
}

static int wait_for(tdi_pool *pool, int jobs)
{
    const uint64_t until_ns = tdi_now_ns() + 5 * TDI_NS_PER_S;
    while (jobs > 0 && tdi_now_ns() < until_ns) {
        struct pollfd wanted = {.fd = tdi_pool_fd(pool), .events = POLLIN};
        poll(&wanted, 1, 1000);
        for (tdi_job *job = tdi_pool_take(pool); job != NULL; job = job->next)
            jobs--;
    }
    return jobs == 0;
}

static void urgent_lanes_go_first_and_each_in_order(void)
{
    tdi_pool *pool;
    gate_open = performed = 0;
    REQUIRE(tdi_pool_create(1, 64, &pool, NULL) == TD_OK);
    tdi_job gate = {.perform = wait_for_gate};
    tdi_pool_submit(pool, &gate);
    while (tdi_pool_queued(pool) > 0) /* taken by the only thread */
        usleep(100);
    task tasks[6];
    static const uint8_t lanes[6] = {3, 0, 1, 0, 3, 1};
    for (int i = 0; i < 6; i++) {
        tasks[i] = (task){.job = {.perform = note, .lane = lanes[i]}, .number = i};
        CHECK_EQ(tdi_pool_submit(pool, &tasks[i].job), TD_OK);
    }
    gate_open = 1;
    CHECK(wait_for(pool, 7));
    static const int expected[6] = {1, 3, 2, 5, 0, 4};
    for (int i = 0; i < 6; i++)
        CHECK_EQ(order[i], expected[i]);
    CHECK_EQ(tdi_pool_destroy(pool, tdi_now_ns() + TDI_NS_PER_S), TD_OK);
}

static int is_odd(const tdi_job *job, void *context)
{
    (void)context;
    return ((const task *)job)->number % 2;
}

static void a_sweep_takes_only_what_waits_and_is_wanted(void)
{
    tdi_pool *pool;
    gate_open = performed = 0;
    REQUIRE(tdi_pool_create(1, 4, &pool, NULL) == TD_OK);
    tdi_job gate = {.perform = wait_for_gate};
    tdi_pool_submit(pool, &gate);
    while (tdi_pool_queued(pool) > 0)
        usleep(100);
    task tasks[5];
    for (int i = 0; i < 5; i++) {
        tasks[i] = (task){.job = {.perform = note}, .number = i};
        CHECK_EQ(tdi_pool_submit(pool, &tasks[i].job), i < 4 ? TD_OK : TD_BUSY);
    }
    int swept = 0;
    for (tdi_job *job = tdi_pool_sweep(pool, is_odd, NULL); job != NULL; job = job->next)
        swept++;
    CHECK_EQ(swept, 2);
    CHECK_EQ(tdi_pool_queued(pool), 2);
    gate_open = 1;
    CHECK(wait_for(pool, 3));
    CHECK(order[0] == 0 && order[1] == 2 && performed == 2);
    CHECK_EQ(tdi_pool_destroy(pool, tdi_now_ns() + TDI_NS_PER_S), TD_OK);
}

static void destroy_says_when_a_job_does_not_end(void)
{
    tdi_pool *pool;
    gate_open = 0;
    REQUIRE(tdi_pool_create(2, 4, &pool, NULL) == TD_OK);
    tdi_job gate = {.perform = wait_for_gate};
    tdi_pool_submit(pool, &gate);
    while (tdi_pool_queued(pool) > 0)
        usleep(100);
    CHECK_EQ(tdi_pool_destroy(pool, tdi_now_ns() + 20 * TDI_NS_PER_MS), TD_TIMED_OUT);
    gate_open = 1;
    CHECK_EQ(tdi_pool_destroy(pool, tdi_now_ns() + TDI_NS_PER_S), TD_OK);
}

static void the_number_of_threads_is_bounded(void)
{
    tdi_pool *pool;
    CHECK_EQ(tdi_pool_create(0, 4, &pool, NULL), TD_ERR_ARGUMENT);
    CHECK_EQ(tdi_pool_create(65, 4, &pool, NULL), TD_ERR_ARGUMENT);
}

int main(void)
{
    RUN(urgent_lanes_go_first_and_each_in_order);
    RUN(a_sweep_takes_only_what_waits_and_is_wanted);
    RUN(destroy_says_when_a_job_does_not_end);
    RUN(the_number_of_threads_is_bounded);
    return TEST_RESULT;
}
