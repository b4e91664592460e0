#include "bridge/budget.h"

#include "base/test.h"

static void sixteen_mebibytes_are_cut_as_designed(void)
{
    tdi_budget budget;
    CHECK_EQ(tdi_budget_init(&budget, 16 << 20, 32, NULL), TD_OK);
    CHECK_EQ(budget.ring_bytes[TDI_SHARE_FIRST], 2 << 20);
    CHECK_EQ(budget.ring_bytes[TDI_SHARE_LATER], 128 << 10);
    CHECK_EQ(budget.ring_bytes[TDI_SHARE_AGENT], 128 << 10);
}

/* An oracle of its own: whatever the numbers, all rings together stay within the buffer. */
static void no_budget_is_exceeded(void)
{
    for (uint64_t buffer = 4 << 20; buffer <= (256 << 20); buffer += (1 << 20) + 12345)
        for (uint32_t agents = 1; agents <= 64; agents *= 2) {
            tdi_budget budget;
            tdi_share share;
            uint64_t used = 0;
            if (tdi_budget_init(&budget, buffer, agents, NULL) != TD_OK)
                continue;
            for (int kind = 0; kind < 2; kind++)
                while (tdi_budget_take(&budget, kind, &share, NULL) == TD_OK)
                    used += 2 * share.ring_bytes;
            CHECK(used <= buffer);
            CHECK(used > buffer / 4);
        }
}

static void beyond_the_budget_is_busy_until_one_leaves(void)
{
    tdi_budget budget;
    tdi_share share, first;
    tdi_error error;
    tdi_budget_init(&budget, 16 << 20, 2, NULL);
    CHECK_EQ(tdi_budget_take(&budget, 0, &first, NULL), TD_OK);
    CHECK_EQ(first.kind, TDI_SHARE_FIRST);
    for (int i = 0; i < TDI_LATER_ORCHESTRATORS; i++)
        CHECK_EQ(tdi_budget_take(&budget, 0, &share, NULL), TD_OK);
    CHECK_EQ(tdi_budget_take(&budget, 0, &share, &error), TD_BUSY);
    CHECK(strstr(error.text, "17") != NULL);
    CHECK_EQ(tdi_budget_take(&budget, 1, &share, NULL), TD_OK);
    tdi_budget_give(&budget, &first);
    CHECK_EQ(tdi_budget_take(&budget, 0, &share, NULL), TD_OK);
    CHECK_EQ(share.kind, TDI_SHARE_FIRST);
}

static void a_buffer_too_small_is_refused(void)
{
    tdi_budget budget;
    tdi_error error;
    CHECK_EQ(tdi_budget_init(&budget, 1 << 20, 32, &error), TD_ERR_ARGUMENT);
    CHECK_EQ(tdi_budget_init(&budget, 16 << 20, 0, &error), TD_ERR_ARGUMENT);
    CHECK_EQ(tdi_budget_init(&budget, 2 << 20, 32, &error), TD_OK);
}

int main(void)
{
    RUN(sixteen_mebibytes_are_cut_as_designed);
    RUN(no_budget_is_exceeded);
    RUN(beyond_the_budget_is_busy_until_one_leaves);
    RUN(a_buffer_too_small_is_refused);
    return TEST_RESULT;
}
