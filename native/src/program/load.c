/* load.c - from bytes to a program: a private copy, its tables, its actions. */
#include <stdlib.h>
#include <string.h>

#include "program/program.h"

static uint64_t padded(uint64_t bytes)
{
    return (bytes + 7) & ~UINT64_C(7);
}

/* Cut the copy into its tables. The totals are 32 bits wide, so the 64-bit sums cannot overflow. */
static td_status cut(td_program *program, tdi_error *error)
{
    const tdi_program_header *header = (const tdi_program_header *)program->data;
    program->header = header;
    const uint64_t sizes[] = {
        sizeof *header,
        header->steps_total * (uint64_t)sizeof(tdi_step_row),
        header->edges_total * (uint64_t)sizeof(uint32_t),
        header->refs_total * (uint64_t)sizeof(tdi_ref_row),
        header->tokens_total * (uint64_t)sizeof(tdi_token_row),
        header->pieces_total * (uint64_t)sizeof(tdi_piece_row),
        header->conditions_total * (uint64_t)sizeof(tdi_condition_row),
        header->inputs_total * (uint64_t)sizeof(tdi_input_row),
        header->literals_bytes,
    };
    enum { TABLES = sizeof sizes / sizeof *sizes };
    const uint8_t *tables[TABLES];
    uint64_t at = 0;
    for (int i = 0; i < TABLES; i++) {
        if (sizes[i] > program->bytes - at || padded(sizes[i]) > program->bytes - at)
            return tdi_fail(error, TD_CORRUPT, "program: table %d ends beyond byte %zu", i,
                            program->bytes);
        tables[i] = program->data + at;
        for (uint64_t pad = at + sizes[i]; pad < at + padded(sizes[i]); pad++)
            if (program->data[pad] != 0)
                return tdi_fail(error, TD_CORRUPT, "program: byte %llu pads and is not 0",
                                (unsigned long long)pad);
        at += padded(sizes[i]);
    }
    if (at != program->bytes)
        return tdi_fail(error, TD_CORRUPT, "program: %llu bytes after the last table",
                        (unsigned long long)(program->bytes - at));
    program->steps = (const tdi_step_row *)tables[1];
    program->edges = (const uint32_t *)tables[2];
    program->refs = (const tdi_ref_row *)tables[3];
    program->tokens = (const tdi_token_row *)tables[4];
    program->pieces = (const tdi_piece_row *)tables[5];
    program->conditions = (const tdi_condition_row *)tables[6];
    program->inputs = (const tdi_input_row *)tables[7];
    program->literals = tables[8];
    return TD_OK;
}

static td_status open_header(td_program *program, tdi_error *error)
{
    const tdi_program_header *header = (const tdi_program_header *)program->data;
    if (program->bytes < sizeof *header || program->bytes % 8 != 0)
        return tdi_fail(error, TD_CORRUPT, "program: %zu bytes is no program", program->bytes);
    if (header->magic != TDI_PROGRAM_MAGIC)
        return tdi_fail(error, TD_CORRUPT, "program: magic %#x", header->magic);
    if (header->version != TDI_PROGRAM_VERSION)
        return tdi_fail(error, TD_CORRUPT, "program: version %u, expected %d", header->version,
                        TDI_PROGRAM_VERSION);
    if (header->flags != 0 || header->reserved[0] != 0 || header->reserved[1] != 0 ||
        header->reserved[2] != 0)
        return tdi_fail(error, TD_CORRUPT, "program: unknown flags");
    if (header->total_bytes != program->bytes)
        return tdi_fail(error, TD_CORRUPT, "program: says %u bytes, has %zu", header->total_bytes,
                        program->bytes);
    return cut(program, error);
}

struct tdi_remote_action {
    struct tdi_remote_action *next;
    uint32_t id;
    td_action action;
    char text[];
};

/* Its names are the registry's, which forgets them; `recent` spares a copy for each step. */
static const td_action *copy_of(td_program *program, const td_action *action, uint32_t id,
                                struct tdi_remote_action **recent)
{
    if (*recent != NULL && (*recent)->id == id)
        return &(*recent)->action;
    const size_t agent_bytes = strlen(action->agent) + 1, name_bytes = strlen(action->name) + 1;
    struct tdi_remote_action *copy = malloc(sizeof *copy + agent_bytes + name_bytes);
    if (copy == NULL)
        return NULL;
    memcpy(copy->text, action->agent, agent_bytes);
    memcpy(copy->text + agent_bytes, action->name, name_bytes);
    copy->id = id;
    copy->action = *action;
    copy->action.agent = copy->text;
    copy->action.name = copy->text + agent_bytes;
    copy->action.version = "";
    copy->next = program->remotes;
    program->remotes = *recent = copy;
    return &copy->action;
}

static td_status find_actions(td_program *program, td_program_find find, void *context,
                              tdi_error *error)
{
    struct tdi_remote_action *recent[64] = {NULL};
    for (uint32_t i = 0; i < program->header->steps_total; i++) {
        const uint32_t id = program->steps[i].action_id;
        const td_action *action = find(context, id);
        if (action == NULL)
            return tdi_fail(error, TD_NO_AGENT, "program: step %u: no action has id %u", i, id);
        if (action->run == NULL)
            action = copy_of(program, action, id, &recent[id % 64]);
        if (action == NULL)
            return tdi_fail(error, TD_ERR_MEMORY, "program: no memory");
        program->actions[i] = action;
    }
    return TD_OK;
}

td_status td_program_load(const uint8_t *data, size_t bytes, td_program_find find, void *context,
                          td_program **out, tdi_error *error)
{
    td_program *program = calloc(1, sizeof *program);
    if (program == NULL)
        return tdi_fail(error, TD_ERR_MEMORY, "program: no memory");
    program->holders = 1;
    program->bytes = bytes;
    program->data = malloc(bytes + 1);
    td_status status = TD_OK;
    if (program->data == NULL) {
        status = tdi_fail(error, TD_ERR_MEMORY, "program: no memory for %zu bytes", bytes);
    } else {
        if (bytes > 0)
            memcpy(program->data, data, bytes);
        status = open_header(program, error);
    }
    if (status == TD_OK) {
        program->actions = calloc((size_t)program->header->steps_total + 1, sizeof(td_action *));
        program->hole_depth = calloc((size_t)program->header->pieces_total + 1, 1);
        if (program->actions == NULL || program->hole_depth == NULL)
            status = tdi_fail(error, TD_ERR_MEMORY, "program: no memory");
    }
    if (status == TD_OK)
        status = tdi_program_check(program, error);
    if (status == TD_OK)
        status = find_actions(program, find, context, error);
    if (status != TD_OK) {
        td_program_drop(program);
        return status;
    }
    *out = program;
    return TD_OK;
}

void td_program_hold(td_program *program)
{
    program->holders++;
}

void td_program_drop(td_program *program)
{
    if (program == NULL || --program->holders > 0)
        return;
    free(program->data);
    free(program->actions);
    free(program->hole_depth);
    while (program->remotes != NULL) {
        struct tdi_remote_action *const gone = program->remotes;
        program->remotes = gone->next;
        free(gone);
    }
    free(program);
}
