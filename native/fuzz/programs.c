/* programs.c - load and run programs with test actions: the C half of tests/parity.
 *
 * Usage: td_programs [STEPS [newest]] < records > lines
 * A record is a u32 and a program, a u32 and a RUN's body. For each record one line: a status and
 * the completion's body as hex, or a status and why it was refused. STEPS is the budget of one
 * turn; with `newest` the job that came last is the first to come back.
 */
#include "program_actions.h"

#include <inttypes.h>
#include <stdio.h>

/* A record's part, exactly as long as it is, so that a sanitizer sees any read past it. */
static uint8_t *read_part(size_t *bytes)
{
    uint32_t length;
    if (fread(&length, sizeof length, 1, stdin) != 1)
        return NULL;
    uint8_t *data = malloc(length > 0 ? length : 1);
    if (data == NULL || fread(data, 1, length, stdin) != length) {
        fprintf(stderr, "td_programs: a record of %" PRIu32 " bytes is cut off\n", length);
        exit(1);
    }
    *bytes = length;
    return data;
}

static void say(const uint8_t *data, size_t bytes, uint8_t *body, size_t body_bytes, uint32_t steps,
                bool oldest)
{
    td_program *program = NULL;
    td_program_run *run = NULL;
    tdi_error error = {""};
    waiting_jobs jobs = {.most = UINT32_MAX};
    td_program_host host = program_host;
    host.context = &jobs;
    const td_program_limits limits = {
        .bytes_max = 64 << 20, .reply_bytes_max = 64 << 20, .attempt = 1};
    td_status status = td_program_load(data, bytes, find_program_action, NULL, &program, &error);
    if (status == TD_OK)
        status = td_program_run_create(program, body, body_bytes, &host, &limits, &run, &error);
    if (status != TD_OK) {
        printf("%d %s\n", status, error.text);
        free(body);
        td_program_drop(program);
        return;
    }
    run_program(run, &jobs, steps, oldest);
    size_t reply_bytes;
    uint8_t *reply = td_program_take_body(run, &reply_bytes);
    printf("%d ", TD_OK);
    for (size_t i = 0; reply != NULL && i < reply_bytes; i++)
        printf("%02x", reply[i]);
    putchar('\n');
    free(reply);
    td_program_run_destroy(run);
    td_program_drop(program);
}

int main(int argc, char **argv)
{
    const uint32_t steps = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 10) : 64;
    const bool oldest = argc <= 2 || strcmp(argv[2], "newest") != 0;
    size_t bytes, body_bytes;
    uint8_t *data;
    while ((data = read_part(&bytes)) != NULL) {
        uint8_t *body = read_part(&body_bytes);
        if (body == NULL) {
            fputs("td_programs: a program without a RUN\n", stderr);
            return 1;
        }
        say(data, bytes, body, body_bytes, steps, oldest);
        free(data);
    }
    return 0;
}
