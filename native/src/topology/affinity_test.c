#include "topology/affinity.h"

#include "base/test.h"

static void a_mask_that_is_set_is_the_mask_that_is_read(void)
{
    td_cpu_set before, one = {{0}}, after;
    REQUIRE(td_affinity_get(&before) == TD_OK);
    CHECK(td_cpu_set_total(&before) >= 1);
    td_cpu_set_add(&one, td_cpu_set_next(&before, 0));
    CHECK_EQ(td_affinity_set(&one), TD_OK);
    CHECK_EQ(td_affinity_get(&after), TD_OK);
    CHECK(memcmp(&one, &after, sizeof one) == 0);
    CHECK_EQ(td_affinity_set(&before), TD_OK);
    CHECK_EQ(td_affinity_get(&after), TD_OK);
    CHECK(memcmp(&before, &after, sizeof before) == 0);
}

static void no_cpu_and_cpus_that_are_not_there_are_refused(void)
{
    td_cpu_set none = {{0}}, far = {{0}}, before, after;
    REQUIRE(td_affinity_get(&before) == TD_OK);
    td_cpu_set_add(&far, TD_CPUS_MAX - 1);
    CHECK_EQ(td_affinity_set(&none), TD_ERR_ARGUMENT);
    if (!td_cpu_set_has(&before, TD_CPUS_MAX - 1))
        CHECK_EQ(td_affinity_set(&far), TD_ERR_SYSTEM);
    CHECK_EQ(td_affinity_get(&after), TD_OK);
    CHECK(memcmp(&before, &after, sizeof before) == 0);
}

int main(void)
{
    RUN(a_mask_that_is_set_is_the_mask_that_is_read);
    RUN(no_cpu_and_cpus_that_are_not_there_are_refused);
    return TEST_RESULT;
}
