/* verdicts.c - say what the C layer makes of bytes: the other half of tests/parity.
 *
 * Usage: td_verdicts body|frame < records > lines
 * A record is a u32 (little-endian) and that many bytes. For each record one line:
 *   body:  strict pair canonical rewritten canonical-form dump
 *          (statuses; 1 if writing all items again gave the same bytes; hex and text, or -)
 *   frame: status dump
 */
#include <stdlib.h>

#include "dump.h"
#include "frame_dump.h"
#include "strict/strict.h"

static void say_body(const uint8_t *data, size_t bytes)
{
    const td_status strict = td_strict_check(data, bytes);
    printf("%d %d %d ", strict, td_strict_check_pair(data, bytes), td_canonical_check(data, bytes));
    if (strict != TD_OK) {
        puts("0 - -");
        return;
    }
    td_heap_writer again, sorted;
    td_heap_writer_init(&again, bytes);
    td_heap_writer_init(&sorted, bytes);
    td_reader reader = td_reader_of(data, bytes);
    rewrite_value(&reader, &again.writer);
    const int same = again.writer.status == TD_OK && td_writer_bytes(&again.writer) == bytes &&
                     memcmp(again.writer.start, data, bytes) == 0;
    printf("%d ", same);
    if (td_canonical(data, bytes, &sorted.writer) == TD_OK)
        dump_hex(stdout, sorted.writer.start, td_writer_bytes(&sorted.writer));
    putchar(' ');
    reader = td_reader_of(data, bytes);
    dump_value(stdout, &reader);
    putchar('\n');
    td_heap_writer_fini(&again);
    td_heap_writer_fini(&sorted);
}

static void say_frame(const uint8_t *data, size_t bytes)
{
    tdi_frame frame;
    tdi_extension extension;
    const td_status status = frame_take(data, bytes, &frame, &extension);
    printf("%d ", status);
    if (status == TD_OK)
        dump_frame(stdout, data, &frame, &extension);
    else
        putchar('-');
    putchar('\n');
}

int main(int argc, char **argv)
{
    const int is_body = argc == 2 && strcmp(argv[1], "body") == 0;
    if (!is_body && (argc != 2 || strcmp(argv[1], "frame") != 0)) {
        fputs("usage: td_verdicts body|frame < records > lines\n", stderr);
        return 2;
    }
    uint32_t bytes;
    while (fread(&bytes, sizeof bytes, 1, stdin) == 1) {
        /* Exactly as long as the record, so that the address sanitizer sees any read past it. */
        uint8_t *data = malloc(bytes > 0 ? bytes : 1);
        if (data == NULL || fread(data, 1, bytes, stdin) != bytes) {
            fprintf(stderr, "td_verdicts: a record of %" PRIu32 " bytes is cut off\n", bytes);
            free(data);
            return 1;
        }
        if (is_body)
            say_body(data, bytes);
        else
            say_frame(data, bytes);
        free(data);
    }
    return 0;
}
