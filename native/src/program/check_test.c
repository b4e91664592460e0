/* check_test.c - what is refused when a program is loaded. The fuzzer looks for the rest. */
#include "program/made.h"

static td_status noop(td_call *call)
{
    return td_write_nil(td_output(call));
}

static const td_action actions[] = {
    {"system", "noop", noop, TD_EFFECTS_NONE, TD_RUNS_SHORT, 1, 0, "1"}};

static const td_action *find(void *context, uint32_t id)
{
    (void)context;
    return id == 1 ? actions : NULL;
}

static const uint32_t ones[MADE_STEPS_MAX] = {1, 1, 1, 1, 1, 1, 1, 1};
static const uint32_t plain[MADE_STEPS_MAX];
static _Alignas(8) made_program made;
static tdi_error error;

static td_status load(size_t bytes)
{
    /* As long as it is, so that a sanitizer sees any read past it. */
    uint8_t *exact = malloc(bytes > 0 ? bytes : 1);
    td_program *program = NULL;
    memcpy(exact, &made, bytes);
    const td_status status = td_program_load(exact, bytes, find, NULL, &program, &error);
    free(exact);
    if (status == TD_OK)
        td_program_drop(program);
    return status;
}

static void a_good_program_loads(void)
{
    CHECK_EQ(load(make_steps(&made, 3, ones, plain, 1)), TD_OK);
    CHECK_EQ(load(make_steps(&made, 1, ones, plain, 0)), TD_OK);
}

static void a_program_cut_anywhere_is_refused(void)
{
    const size_t bytes = make_steps(&made, 3, ones, plain, 1);
    for (size_t at = 0; at < bytes; at++)
        CHECK_EQ(load(at), TD_CORRUPT);
}

static void an_action_that_is_not_local_is_refused_by_its_own_status(void)
{
    const uint32_t ids[] = {1, 9};
    CHECK_EQ(load(make_steps(&made, 2, ids, plain, 1)), TD_NO_AGENT);
    CHECK(strstr(error.text, "step 1") != NULL && strstr(error.text, "id 9") != NULL);
}

static void edges_lead_to_later_steps_only(void)
{
    const size_t bytes = make_steps(&made, 3, ones, plain, 1);
    uint32_t *edge = (uint32_t *)(made.steps + 3);
    edge[1] = 1; /* to itself */
    CHECK_EQ(load(bytes), TD_CORRUPT);
    edge[1] = 0;
    CHECK_EQ(load(bytes), TD_CORRUPT);
    edge[1] = 3;
    CHECK_EQ(load(bytes), TD_CORRUPT);
    edge[1] = 2;
    CHECK_EQ(load(bytes), TD_OK);
    made.steps[2].needs = 2; /* it would wait for ever */
    CHECK_EQ(load(bytes), TD_CORRUPT);
    made.steps[2].needs = 0;
    CHECK_EQ(load(bytes), TD_CORRUPT);
}

static void totals_that_the_bytes_do_not_back_are_refused(void)
{
    const size_t bytes = make_steps(&made, 3, ones, plain, 1);
    static const size_t totals[] = {8, 12, 16, 20, 24, 28, 32, 36};
    for (size_t i = 0; i < sizeof totals / sizeof *totals; i++) {
        uint32_t *total = (uint32_t *)((uint8_t *)&made + totals[i]);
        const uint32_t was = *total;
        for (uint32_t wrong = 1; wrong < 33; wrong++) {
            *total = wrong == 32 ? UINT32_MAX : was + (1u << (wrong - 1));
            CHECK_EQ(load(bytes), TD_CORRUPT);
        }
        *total = was;
    }
    CHECK_EQ(load(bytes), TD_OK);
}

static void a_template_that_is_no_value_is_refused(void)
{
    const size_t bytes = make_steps(&made, 1, ones, plain, 0);
    uint8_t *literal = (uint8_t *)&made + bytes - 8;
    *literal = 0xC1;
    CHECK_EQ(load(bytes), TD_CORRUPT);
    *literal = 0x91; /* an array without its item */
    CHECK_EQ(load(bytes), TD_CORRUPT);
    *literal = 0x90;
    CHECK_EQ(load(bytes), TD_OK);
}

/* Every byte, every bit: loaded or refused, and what loads can be run (under the sanitizers). */
static void no_single_bit_makes_it_unsafe(void)
{
    const size_t bytes = make_steps(&made, 3, ones, plain, 1);
    const td_program_host host = {0};
    const td_program_limits limits = {.bytes_max = 1 << 16, .reply_bytes_max = 1 << 16};
    uint32_t loaded = 0;
    for (size_t bit = 0; bit < 8 * bytes; bit++) {
        ((uint8_t *)&made)[bit / 8] ^= (uint8_t)(1 << bit % 8);
        td_program *program = NULL;
        td_program_run *run;
        if (td_program_load((const uint8_t *)&made, bytes, find, NULL, &program, &error) == TD_OK) {
            size_t body_bytes;
            uint8_t *body = make_body(&body_bytes);
            loaded++;
            if (td_program_run_create(program, body, body_bytes, &host, &limits, &run, &error) ==
                TD_OK) {
                while (td_program_step(run, 64, UINT64_MAX) != TD_PROGRAM_DONE)
                    ;
                td_program_run_destroy(run);
            } else {
                free(body);
            }
            td_program_drop(program);
        }
        ((uint8_t *)&made)[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    CHECK(loaded > 0 && loaded < 8 * bytes / 2);
}

int main(void)
{
    RUN(a_good_program_loads);
    RUN(a_program_cut_anywhere_is_refused);
    RUN(an_action_that_is_not_local_is_refused_by_its_own_status);
    RUN(edges_lead_to_later_steps_only);
    RUN(totals_that_the_bytes_do_not_back_are_refused);
    RUN(a_template_that_is_no_value_is_refused);
    RUN(no_single_bit_makes_it_unsafe);
    return TEST_RESULT;
}
