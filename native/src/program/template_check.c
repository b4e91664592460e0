/* template_check.c - a template makes one strict value, whatever strict values fill its holes.
 *
 * Put nil into every hole, have the result checked as a body, then walk it once more: each hole
 * must be where an item begins. (Nil is no key, so it stands where a value may; a hole inside a
 * string or bin does not begin an item.) The walk also counts the containers around each hole,
 * which bounds the depth of what may be put there.
 */
#include <stdlib.h>

#include "program/program.h"
#include "strict/strict.h"
#include "tandem/message.h"

static bool reserve(tdi_template_checker *checker, size_t bytes, size_t holes)
{
    if (bytes > checker->bytes_max) {
        uint8_t *const more = realloc(checker->bytes, 2 * bytes);
        if (more == NULL)
            return false;
        checker->bytes = more;
        checker->bytes_max = 2 * bytes;
    }
    if (holes > checker->holes_max) {
        uint32_t *const more = realloc(checker->holes, 2 * holes * sizeof *more);
        if (more == NULL)
            return false;
        checker->holes = more;
        checker->holes_max = 2 * holes;
    }
    return true;
}

void tdi_template_checker_fini(tdi_template_checker *checker)
{
    free(checker->bytes);
    free(checker->holes);
}

/* Do the `holes` begin items of this strict value? Fills the depth around each. */
static bool holes_begin_items(const tdi_template_checker *checker, size_t bytes, size_t holes,
                              uint8_t *depths)
{
    td_reader reader = td_reader_of(checker->bytes, bytes);
    uint64_t left[TD_DEPTH_MAX];
    unsigned depth = 0;
    size_t hole = 0;
    while (reader.at != reader.end && hole < holes) {
        const size_t offset = (size_t)(reader.at - checker->bytes);
        if (checker->holes[hole] < offset)
            return false;
        if (checker->holes[hole] == offset)
            depths[hole++] = (uint8_t)depth;
        td_item item;
        if (!tdi_read_item(&reader, &item))
            return false;
        if (depth > 0)
            left[depth - 1]--;
        if (item.type == TD_TYPE_ARRAY || item.type == TD_TYPE_MAP)
            left[depth++] = item.type == TD_TYPE_MAP ? 2 * (uint64_t)item.count : item.count;
        while (depth > 0 && left[depth - 1] == 0)
            depth--;
    }
    return hole == holes;
}

td_status tdi_template_check(tdi_template_checker *checker, td_program *program, uint32_t first,
                             uint32_t count, tdi_error *error)
{
    uint64_t bytes_total = 0;
    for (uint32_t i = first; i < first + count; i++)
        bytes_total += program->pieces[i].kind == TDI_PIECE_LITERAL ? program->pieces[i].bytes : 1;
    if (bytes_total > UINT32_MAX)
        return tdi_fail(error, TD_TOO_LARGE, "program: a template of %llu bytes",
                        (unsigned long long)bytes_total);
    /* One depth a hole fits into the bytes' spare half: no third buffer. */
    if (!reserve(checker, (size_t)bytes_total + count + 1, count))
        return tdi_fail(error, TD_ERR_MEMORY, "program: no memory");
    size_t at = 0, holes = 0;
    for (uint32_t i = first; i < first + count; i++) {
        const tdi_piece_row *piece = &program->pieces[i];
        if (piece->kind != TDI_PIECE_LITERAL) {
            checker->holes[holes++] = (uint32_t)at;
            checker->bytes[at++] = 0xC0;
        } else if (piece->bytes > 0) {
            memcpy(checker->bytes + at, program->literals + piece->at, piece->bytes);
            at += piece->bytes;
        }
    }
    uint8_t *const depths = checker->bytes + at;
    if (td_strict_check(checker->bytes, at) != TD_OK ||
        !holes_begin_items(checker, at, holes, depths))
        return tdi_fail(error, TD_CORRUPT, "program: pieces %u+%u make no strict value", first,
                        count);
    for (uint32_t i = first, hole = 0; i < first + count; i++)
        if (program->pieces[i].kind != TDI_PIECE_LITERAL)
            program->hole_depth[i] = depths[hole++];
    return TD_OK;
}
