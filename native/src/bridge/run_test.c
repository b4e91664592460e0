/* What an action may do, and what its return value means; on a session made by hand. */
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/test.h"
#include "bridge/bridge.h"
#include "strict/strict.h"

static tdi_bridge bridge;
static tdi_session session;
static tdi_run run;
static int mode;

static td_status act(td_call *call)
{
    switch (mode) {
    case 0:
        return td_write_nil(td_output(call));
    case 1:
        return td_fail(call, "ValueError", "no\xC3\xA9");
    case 2:
        return TD_OK; /* wrote nothing */
    case 3:
        td_write_nil(td_output(call));
        return td_write_nil(td_output(call));
    case 4:
        return TD_FAILED; /* without td_fail */
    case 5:
        td_fail(call, "E", "m");
        return TD_OK;
    case 6:
        return TD_CANCELLED;
    case 7:
        return td_fail(call, "", "bad \xFF bytes");
    case 8: {
        static uint8_t big[4096];
        td_write_bin(td_output(call), big, sizeof big);
        return td_output(call)->status;
    }
    case 9:
        td_progress(call, 3, 10);
        return td_write_nil(td_output(call));
    case 10: {
        char text[5000];
        memset(text, 'x', sizeof text - 1);
        text[1022] = '\xC3', text[1023] = '\xA9'; /* would be cut in the middle */
        text[sizeof text - 1] = 0;
        return td_fail(call, "E", text);
    }
    default:
        return TD_OK;
    }
}

static const td_action action = {"test", "act", act, 0, 0, 0, 0, "1"};

static void set_up(void)
{
    int fd;
    session = (tdi_session){.bridge = &bridge, .slots = 16};
    tdi_region_create(TDI_REGION_DOWN, 16384, 16, &fd, &session.down, NULL);
    close(fd);
    /* Only the peer writes `up`; here the test is the peer. */
    tdi_region ours;
    tdi_region_create(TDI_REGION_UP, 16384, 16, &fd, &ours, NULL);
    tdi_region_attach(TDI_REGION_UP, fd, 16384, 16, &session.up, NULL);
    tdi_region_unmap(&ours);
    close(fd);
}

static td_status perform(int which, uint32_t reply_bytes_max)
{
    const tdi_frame frame = {
        .kind = TDI_KIND_CALL, .call_id = tdi_call_id(3, 7), .attempt = 2, .aux = reply_bytes_max};
    const tdi_extension ext = {.key = {(const uint8_t *)"k", 1}};
    mode = which;
    tdi_run_init(&run, &session, &action, &frame, &ext);
    tdi_run_perform(&run);
    return run.status;
}

static int failure_has(const char *text)
{
    CHECK_EQ(td_strict_check(run.failure, run.failure_bytes), TD_OK);
    return memmem(run.failure, run.failure_bytes, text, strlen(text)) != NULL;
}

static void one_value_and_ok_is_success(void)
{
    CHECK_EQ(perform(0, 0), TD_OK);
    CHECK_EQ(td_writer_bytes(&run.output), 1);
    CHECK(td_attempt(&run.call) == 2 && td_idempotency_key(&run.call).bytes == 1);
}

static void td_fail_names_a_type_and_a_message(void)
{
    CHECK_EQ(perform(1, 0), TD_FAILED);
    CHECK(failure_has("ValueError") && failure_has("no\xC3\xA9"));
    CHECK_EQ(perform(7, 0), TD_FAILED);
    CHECK(failure_has("bad ? bytes"));
    CHECK_EQ(perform(10, 0), TD_FAILED);
    CHECK(run.failure_bytes > 1000);
    CHECK(failure_has("xxx"));
}

static void every_other_combination_is_an_internal_error(void)
{
    for (int which = 2; which <= 6; which++) {
        CHECK_EQ(perform(which, 0), TD_FAILED);
        CHECK(failure_has("InternalError"));
    }
}

static void a_wish_to_stop_becomes_the_status(void)
{
    atomic_store(&session.up.cancel[3], 6); /* an older call's wish */
    CHECK_EQ(perform(0, 0), TD_OK);
    CHECK_EQ(tdi_run_wish(&run), TD_OK);
    atomic_store(&session.up.cancel[3], 7);
    CHECK_EQ(perform(6, 0), TD_CANCELLED);
    atomic_store(&session.up.cancel[3], 0);
    run.deadline_ns = 1;
    CHECK_EQ(tdi_run_wish(&run), TD_TIMED_OUT);
    run.deadline_ns = tdi_now_ns() + TDI_NS_PER_S;
    CHECK_EQ(tdi_run_wish(&run), TD_OK);
    session.ended = true;
    CHECK_EQ(tdi_run_wish(&run), TD_CANCELLED);
    session.ended = false;
}

static void an_output_over_its_maximum_is_too_large(void)
{
    CHECK_EQ(perform(8, 4096), TD_TOO_LARGE);
    CHECK_EQ(perform(8, 4096 + 3), TD_OK);
}

static void an_output_beyond_the_reserve_is_charged(void)
{
    atomic_store(&session.bytes_used, 0);
    CHECK_EQ(perform(8, 0), TD_OK);
    CHECK(run.charged >= 3 && session.bytes_used == run.charged);
    atomic_store(&session.bytes_used, TDI_BYTES_QUOTA);
    CHECK_EQ(perform(8, 0), TD_TOO_LARGE); /* it ran: never BUSY */
    atomic_store(&session.bytes_used, 0);
}

static void progress_is_seen_by_the_peer(void)
{
    CHECK_EQ(perform(9, 0), TD_OK);
    CHECK(session.down.progress[3].done == 3 && session.down.progress[3].total == 10);
}

int main(void)
{
    set_up();
    RUN(one_value_and_ok_is_success);
    RUN(td_fail_names_a_type_and_a_message);
    RUN(every_other_combination_is_an_internal_error);
    RUN(a_wish_to_stop_becomes_the_status);
    RUN(an_output_over_its_maximum_is_too_large);
    RUN(an_output_beyond_the_reserve_is_charged);
    RUN(progress_is_seen_by_the_peer);
    free(run.output.start);
    tdi_region_unmap(&session.up);
    tdi_region_unmap(&session.down);
    return TEST_RESULT;
}
