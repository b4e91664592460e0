/* program_fuzz.c - any bytes as a program and a RUN: refused, or run to the end within bounds.
 *
 * The input is a program, as long as its header says, and the rest is the RUN's body; a body that
 * is refused is replaced by one with empty maps, so that a good program always runs. The first
 * byte of the body's magic chooses budgets, the order of jobs, and when everything is cancelled.
 */
#include "program_actions.h"
#include "strict/strict.h"

#include <stdio.h>

#define MUST(claim)                                                               \
    do {                                                                          \
        if (!(claim)) {                                                           \
            fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #claim); \
            abort();                                                              \
        }                                                                         \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static uint8_t *plain_body(const td_program *program, size_t *bytes)
{
    const uint32_t slots = program->header->slots_total;
    const size_t table = ((size_t)slots * 4 + 7) & ~(size_t)7;
    if (slots > 4096)
        return NULL;
    *bytes = sizeof(tdi_run_header) + table + slots;
    uint8_t *body = calloc(1, *bytes);
    MUST(body != NULL);
    const tdi_run_header header = {TDI_RUN_MAGIC, slots};
    memcpy(body, &header, sizeof header);
    for (uint32_t i = 0; i < slots; i++)
        body[sizeof header + 4 * (size_t)i] = 1;
    memset(body + sizeof header + table, 0x80, slots);
    return body;
}

static void run_one(td_program *program, uint8_t *body, size_t bytes, unsigned way)
{
    static const uint64_t limits_of[] = {1 << 20, 1 << 14, 300, 1 << 20};
    waiting_jobs jobs = {.most = way & 8 ? (way >> 4) : UINT32_MAX};
    td_program_host host = program_host;
    host.context = &jobs;
    if (way & 4)
        host.submit = NULL;
    const td_program_limits limits = {.bytes_max = limits_of[way & 3],
                                      .reply_bytes_max = 200u * program->header->steps_total + 4096,
                                      .attempt = 1,
                                      .deadline_ns = way & 64 ? 1 : 0};
    td_program_run *run;
    if (td_program_run_create(program, body, bytes, &host, &limits, &run, NULL) != TD_OK) {
        free(body);
        return;
    }
    run_program(run, &jobs, way & 1 ? 1 : 64, (way & 2) != 0);
    MUST(td_program_jobs(run) == 0 && jobs.first == NULL);
    size_t reply_bytes;
    uint8_t *reply = td_program_take_body(run, &reply_bytes);
    MUST(reply != NULL && reply_bytes <= limits.reply_bytes_max);
    MUST(td_strict_check(reply, reply_bytes) == TD_OK);
    free(reply);
    td_program_run_destroy(run);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    uint32_t total = 0;
    if (bytes >= sizeof(tdi_program_header))
        memcpy(&total, data + offsetof(tdi_program_header, total_bytes), 4);
    const size_t program_bytes = total < bytes ? total : bytes;
    td_program *program;
    if (td_program_load(data, program_bytes, find_program_action, NULL, &program, NULL) != TD_OK)
        return 0;
    const size_t rest = bytes - program_bytes;
    const unsigned way = rest > 0 ? data[program_bytes] : 0;
    if (rest > sizeof(tdi_run_header)) {
        uint8_t *body = malloc(rest);
        MUST(body != NULL);
        memcpy(body, data + program_bytes, rest);
        body[0] = (uint8_t)TDI_RUN_MAGIC;
        run_one(program, body, rest, way);
    }
    size_t plain_bytes = 0;
    uint8_t *plain = plain_body(program, &plain_bytes);
    if (plain != NULL)
        run_one(program, plain, plain_bytes, way);
    td_program_drop(program);
    return 0;
}
