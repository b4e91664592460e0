/* remote_test.c - steps that are sent away: in a window, answered in any order, lost, refused. */
#include "base/clock.h"
#include "program/made.h"

enum { HELD_MAX = 1024, FAR = 1, NEAR };

static uint32_t performed;
static bool cancelled;
static td_program_remote *held[HELD_MAX];
static uint32_t held_total;
static td_status send_status = TD_OK;
static bool at_once;

static td_status noop(td_call *call)
{
    performed++;
    return td_write_nil(td_output(call));
}

static const td_action actions[] = {
    {"agent", "far", NULL, TD_EFFECTS_NONE, TD_RUNS_SHORT, 1, 0, "1"},
    {"t", "near", noop, TD_EFFECTS_NONE, TD_RUNS_SHORT, 1, 0, "1"},
};

static const td_action *find(void *context, uint32_t id)
{
    (void)context;
    return id >= 1 && id <= 2 ? &actions[id - 1] : NULL;
}

static bool is_cancelled(void *context)
{
    (void)context;
    return cancelled;
}

static td_status send_away(void *context, td_program_remote *remote)
{
    (void)context;
    if (send_status != TD_OK)
        return send_status;
    if (at_once)
        td_program_answered(remote, TD_OK, (td_view){(const uint8_t *)"\xC3", 1}, NULL);
    else if (held_total < HELD_MAX)
        held[held_total++] = remote;
    return TD_OK;
}

static const td_program_host host = {.cancelled = is_cancelled, .send = send_away};
static const td_program_limits limits = {
    .bytes_max = 1 << 20, .reply_bytes_max = 1 << 20, .attempt = 1};

static td_program_run *begin_bytes(const uint8_t *data, size_t bytes, uint8_t *body,
                                   size_t body_bytes)
{
    td_program *program = NULL;
    td_program_run *run = NULL;
    tdi_error error;
    performed = held_total = 0;
    cancelled = at_once = false;
    send_status = TD_OK;
    if (td_program_load(data, bytes, find, NULL, &program, &error) != TD_OK ||
        td_program_run_create(program, body, body_bytes, &host, &limits, &run, &error) != TD_OK)
        free(body);
    td_program_drop(program);
    return run;
}

static _Alignas(8) made_program made;

static td_program_run *begin(uint32_t steps, const uint32_t *ids, const uint32_t *flags, int chain)
{
    size_t body_bytes;
    const size_t bytes = make_steps(&made, steps, ids, flags, chain);
    uint8_t *body = make_body(&body_bytes);
    return begin_bytes((const uint8_t *)&made, bytes, body, body_bytes);
}

static td_program_state go_on(td_program_run *run)
{
    td_program_state state;
    while ((state = td_program_step(run, 64, UINT64_MAX)) == TD_PROGRAM_MORE)
        ;
    return state;
}

static void answer(uint32_t i, td_status status, const char *body, size_t bytes)
{
    td_program_answered(held[i], status, (td_view){(const uint8_t *)body, bytes}, NULL);
}

/* The outcomes in `codes`; ends the run. */
static void finish(td_program_run *run, uint32_t steps, uint64_t *codes)
{
    size_t bytes = 0, rows = 0, members = 0;
    uint64_t number;
    CHECK_EQ(go_on(run), TD_PROGRAM_DONE);
    CHECK_EQ(td_program_jobs(run), 0);
    uint8_t *body = td_program_take_body(run, &bytes);
    REQUIRE(body != NULL);
    td_reader reader = td_reader_of(body, bytes);
    td_read_array(&reader, &members);
    for (int i = 0; i < 3; i++)
        td_read_uint(&reader, &number);
    CHECK_EQ(td_read_array(&reader, &rows), TD_OK);
    CHECK_EQ(rows, steps);
    for (uint32_t i = 0; i < steps; i++) {
        td_read_array(&reader, &members);
        CHECK_EQ(td_read_uint(&reader, &codes[i]), TD_OK);
        for (size_t k = 1; k < members; k++)
            td_skip(&reader);
    }
    CHECK_EQ(td_reader_left(&reader), 0);
    free(body);
    td_program_run_destroy(run);
}

static void remote_steps_are_all_out_and_local_ones_go_on_beside_them(void)
{
    static const uint32_t ids[] = {FAR, NEAR, FAR}, flags[] = {0, 0, 0};
    uint64_t codes[3];
    td_program_run *run = begin(3, ids, flags, 0);
    REQUIRE(run != NULL);
    CHECK_EQ(go_on(run), TD_PROGRAM_WAITING);
    CHECK_EQ(held_total, 2);
    CHECK_EQ(performed, 1);
    CHECK_EQ(td_program_jobs(run), 2);
    CHECK(held[0]->body_bytes == 1 && held[0]->body[0] == 0xC0 && !held[0]->is_pair);
    answer(1, TD_OK, "\xC3", 1);
    CHECK_EQ(go_on(run), TD_PROGRAM_WAITING);
    answer(0, TD_FAILED, "\x82\xA4type\xA1X\xA7message\xA1y", 18);
    finish(run, 3, codes);
    CHECK_EQ(codes[0], TDI_OUTCOME_FAILED);
    CHECK_EQ(codes[1], TDI_OUTCOME_SUCCEEDED);
    CHECK_EQ(codes[2], TDI_OUTCOME_SUCCEEDED);
}

static void an_answer_from_within_send_is_no_recursion(void)
{
    static const uint32_t ids[] = {FAR, FAR, NEAR}, flags[] = {0, 0, 0};
    uint64_t codes[3];
    td_program_run *run = begin(3, ids, flags, 1);
    REQUIRE(run != NULL);
    at_once = true;
    finish(run, 3, codes);
    for (int i = 0; i < 3; i++)
        CHECK_EQ(codes[i], TDI_OUTCOME_SUCCEEDED);
}

static void what_is_unknown_or_never_started_stops_the_program_even_if_it_can_fail(void)
{
    static const uint32_t ids[] = {FAR, NEAR}, flags[] = {TDI_STEP_CAN_FAIL, 0};
    static const struct {
        td_status status;
        uint64_t code, next;
    } cases[] = {
        {TD_UNKNOWN, TDI_OUTCOME_UNKNOWN, TDI_OUTCOME_NOT_STARTED},
        {TD_NOT_STARTED, TDI_OUTCOME_NOT_STARTED, TDI_OUTCOME_NOT_STARTED},
        {TD_BUSY, TDI_OUTCOME_NOT_STARTED, TDI_OUTCOME_NOT_STARTED},
        {TD_FAILED, TDI_OUTCOME_FAILED, TDI_OUTCOME_SUCCEEDED},
        {TD_TIMED_OUT, TDI_OUTCOME_TIMED_OUT, TDI_OUTCOME_SUCCEEDED},
        {TD_TOO_LARGE, TDI_OUTCOME_FAILED, TDI_OUTCOME_SUCCEEDED},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint64_t codes[2];
        td_program_run *run = begin(2, ids, flags, 1);
        REQUIRE(run != NULL);
        CHECK_EQ(go_on(run), TD_PROGRAM_WAITING);
        answer(0, cases[i].status, "", 0);
        finish(run, 2, codes);
        CHECK_EQ(codes[0], cases[i].code);
        CHECK_EQ(codes[1], cases[i].next);
        CHECK_EQ(performed, cases[i].next == TDI_OUTCOME_SUCCEEDED);
    }
}

static void a_step_that_cannot_be_sent_has_not_started(void)
{
    static const uint32_t ids[] = {FAR, NEAR}, flags[] = {0, 0};
    uint64_t codes[2];
    td_program_run *run = begin(2, ids, flags, 1);
    REQUIRE(run != NULL);
    send_status = TD_NO_AGENT;
    finish(run, 2, codes);
    CHECK_EQ(codes[0], TDI_OUTCOME_NOT_STARTED);
    CHECK_EQ(codes[1], TDI_OUTCOME_NOT_STARTED);
}

static void an_output_that_is_no_value_fails_its_step(void)
{
    static const uint32_t ids[] = {FAR}, flags[] = {0};
    uint64_t codes[1];
    td_program_run *run = begin(1, ids, flags, 1);
    REQUIRE(run != NULL);
    CHECK_EQ(go_on(run), TD_PROGRAM_WAITING);
    answer(0, TD_OK, "\xC0\xC0", 2);
    finish(run, 1, codes);
    CHECK_EQ(codes[0], TDI_OUTCOME_FAILED);
}

/* for_each over a literal list of `total` nils, with a key. */
static td_program_run *begin_items(uint32_t total, uint32_t flags)
{
    static _Alignas(8) uint8_t data[64 + 64 + 2 * 16 + 8192];
    memset(data, 0, sizeof data);
    const uint32_t head = total < 16 ? 1 : 3;
    const uint32_t list_bytes = head + total, literals = list_bytes + 1;
    const size_t bytes = 64 + 64 + 32 + ((literals + 7) & ~7u);
    *(tdi_program_header *)data = (tdi_program_header){.magic = TDI_PROGRAM_MAGIC,
                                                       .version = TDI_PROGRAM_VERSION,
                                                       .total_bytes = (uint32_t)bytes,
                                                       .steps_total = 1,
                                                       .pieces_total = 2,
                                                       .literals_bytes = literals,
                                                       .slots_total = 1};
    *(tdi_step_row *)(data + 64) = (tdi_step_row){.action_id = FAR,
                                                  .flags = flags | TDI_STEP_FOR_EACH,
                                                  .piece_first = 0,
                                                  .piece_count = 1,
                                                  .each_first = 1,
                                                  .each_count = 1};
    tdi_piece_row *pieces = (tdi_piece_row *)(data + 128);
    pieces[0] = (tdi_piece_row){.kind = TDI_PIECE_LITERAL, .at = 0, .bytes = 1};
    pieces[1] = (tdi_piece_row){.kind = TDI_PIECE_LITERAL, .at = 1, .bytes = list_bytes};
    uint8_t *literal = data + 160;
    literal[0] = 0xC0;
    literal[1] = head == 1 ? (uint8_t)(0x90 | total) : 0xDC;
    if (head == 3) {
        literal[2] = (uint8_t)(total >> 8);
        literal[3] = (uint8_t)total;
    }
    memset(literal + 1 + head, 0xC0, total);
    uint8_t *body = malloc(33);
    if (body == NULL)
        return NULL;
    static const uint32_t words[] = {TDI_RUN_KEYED_MAGIC, 1,          0x33221100, 0x77665544,
                                     0xBBAA9988,          0xFFEEDDCC, 1,          0};
    memcpy(body, words, 32);
    body[32] = 0x80;
    return begin_bytes(data, bytes, body, 33);
}

static void items_are_out_in_a_window_and_carry_keys_of_their_own(void)
{
    uint64_t codes[1];
    td_program_run *run = begin_items(200, 0);
    REQUIRE(run != NULL);
    CHECK_EQ(go_on(run), TD_PROGRAM_WAITING);
    CHECK_EQ(held_total, 64);
    CHECK(strcmp(held[17]->key, "00112233445566778899aabbccddeeff-17") == 0);
    CHECK_EQ(held[17]->key_bytes, 35);
    CHECK(!td_program_is_whole_step(held[17]));
    for (uint32_t i = 0; i < 200; i++) {
        REQUIRE(i < held_total);
        CHECK(held_total - i <= 64);
        answer(i, TD_OK, "\xC0", 1);
        go_on(run);
    }
    CHECK_EQ(held_total, 200);
    finish(run, 1, codes);
    CHECK_EQ(codes[0], TDI_OUTCOME_SUCCEEDED);
}

/* Answers to three items, and what the step is then. */
static uint64_t of_three(uint32_t flags, td_status a, td_status b, td_status c)
{
    const td_status statuses[] = {a, b, c};
    uint64_t codes[1] = {99};
    td_program_run *run = begin_items(3, flags);
    if (run == NULL)
        return 99;
    CHECK_EQ(go_on(run), TD_PROGRAM_WAITING);
    CHECK_EQ(held_total, 3);
    for (uint32_t i = 0; i < 3; i++)
        answer(i, statuses[i], statuses[i] == TD_OK ? "\xC0" : "", statuses[i] == TD_OK);
    finish(run, 1, codes);
    return codes[0];
}

static void a_lost_item_is_never_collected(void)
{
    enum { C = TDI_STEP_COLLECT };
    CHECK_EQ(of_three(C, TD_OK, TD_FAILED, TD_OK), TDI_OUTCOME_SUCCEEDED);
    CHECK_EQ(of_three(C, TD_FAILED, TD_OK, TD_UNKNOWN), TDI_OUTCOME_UNKNOWN);
    CHECK_EQ(of_three(0, TD_FAILED, TD_OK, TD_UNKNOWN), TDI_OUTCOME_UNKNOWN);
    CHECK_EQ(of_three(C, TD_FAILED, TD_OK, TD_NOT_STARTED), TDI_OUTCOME_UNKNOWN);
    CHECK_EQ(of_three(0, TD_NOT_STARTED, TD_OK, TD_FAILED), TDI_OUTCOME_FAILED);
    CHECK_EQ(of_three(0, TD_OK, TD_NOT_STARTED, TD_NOT_STARTED), TDI_OUTCOME_UNKNOWN);
    CHECK_EQ(of_three(0, TD_NOT_STARTED, TD_NOT_STARTED, TD_NOT_STARTED), TDI_OUTCOME_NOT_STARTED);
    CHECK_EQ(of_three(C, TD_NOT_STARTED, TD_NOT_STARTED, TD_NOT_STARTED), TDI_OUTCOME_NOT_STARTED);
}

/* So many independent steps that not all may be out at once. */
static void no_more_are_out_than_may_be(void)
{
    enum { STEPS = TDI_REMOTES_MAX + 100 };
    const size_t bytes = 64 + STEPS * 64 + STEPS * 16 + 8;
    uint8_t *data = calloc(1, bytes);
    REQUIRE(data != NULL);
    *(tdi_program_header *)data = (tdi_program_header){.magic = TDI_PROGRAM_MAGIC,
                                                       .version = TDI_PROGRAM_VERSION,
                                                       .total_bytes = (uint32_t)bytes,
                                                       .steps_total = STEPS,
                                                       .pieces_total = STEPS,
                                                       .literals_bytes = 1,
                                                       .slots_total = 1};
    for (uint32_t i = 0; i < STEPS; i++) {
        ((tdi_step_row *)(data + 64))[i] =
            (tdi_step_row){.action_id = FAR, .piece_first = i, .piece_count = 1};
        ((tdi_piece_row *)(data + 64 + STEPS * 64))[i] =
            (tdi_piece_row){.kind = TDI_PIECE_LITERAL, .bytes = 1};
    }
    data[bytes - 8] = 0xC0;
    size_t body_bytes;
    uint8_t *body = make_body(&body_bytes);
    td_program_run *run = begin_bytes(data, bytes, body, body_bytes);
    free(data);
    REQUIRE(run != NULL);
    CHECK_EQ(go_on(run), TD_PROGRAM_WAITING);
    CHECK_EQ(held_total, TDI_REMOTES_MAX);
    for (uint32_t i = 0; i < STEPS; i++) {
        REQUIRE(i < held_total);
        answer(i, TD_OK, "\xC0", 1);
        go_on(run);
    }
    static uint64_t codes[STEPS];
    finish(run, STEPS, codes);
    for (uint32_t i = 0; i < STEPS; i++)
        CHECK_EQ(codes[i], TDI_OUTCOME_SUCCEEDED);
}

int main(void)
{
    RUN(remote_steps_are_all_out_and_local_ones_go_on_beside_them);
    RUN(an_answer_from_within_send_is_no_recursion);
    RUN(what_is_unknown_or_never_started_stops_the_program_even_if_it_can_fail);
    RUN(a_step_that_cannot_be_sent_has_not_started);
    RUN(an_output_that_is_no_value_fails_its_step);
    RUN(items_are_out_in_a_window_and_carry_keys_of_their_own);
    RUN(a_lost_item_is_never_collected);
    RUN(no_more_are_out_than_may_be);
    return TEST_RESULT;
}
