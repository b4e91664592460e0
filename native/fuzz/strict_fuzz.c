/* strict_fuzz.c - any bytes: the validator, the readers and the canonical form agree. */
#include <stdlib.h>

#include "dump.h"
#include "strict/strict.h"

#define MUST(claim)                                                               \
    do {                                                                          \
        if (!(claim)) {                                                           \
            fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #claim); \
            abort();                                                              \
        }                                                                         \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    const td_status strict = td_strict_check(data, bytes);
    const td_status canonical = td_canonical_check(data, bytes);
    const td_status pair = td_strict_check_pair(data, bytes);
    MUST(strict == TD_OK || strict == TD_CORRUPT);
    MUST(pair == TD_OK || pair == TD_CORRUPT);
    MUST((canonical == TD_CORRUPT) == (strict == TD_CORRUPT));

    /* Readers are safe on anything, and step over exactly what the validator accepts. */
    td_reader reader = td_reader_of(data, bytes), value;
    const td_status skipped = td_skip(&reader);
    (void)td_map_find(td_reader_of(data, bytes), "k", &value);
    MUST(strict != TD_OK || (skipped == TD_OK && reader.at == reader.end));
    if (strict != TD_OK)
        return 0;

    td_heap_writer again, sorted, twice;
    td_heap_writer_init(&again, bytes);
    td_heap_writer_init(&sorted, bytes);
    td_heap_writer_init(&twice, bytes);
    reader = td_reader_of(data, bytes);
    rewrite_value(&reader, &again.writer);
    MUST(again.writer.status == TD_OK && td_writer_bytes(&again.writer) == bytes);
    MUST(memcmp(again.writer.start, data, bytes) == 0);

    MUST(td_canonical(data, bytes, &sorted.writer) == TD_OK);
    MUST(td_writer_bytes(&sorted.writer) == bytes);
    MUST(td_canonical_check(sorted.writer.start, bytes) == TD_OK);
    MUST((canonical == TD_OK) == (memcmp(sorted.writer.start, data, bytes) == 0));
    MUST(td_canonical(sorted.writer.start, bytes, &twice.writer) == TD_OK);
    MUST(memcmp(sorted.writer.start, twice.writer.start, bytes) == 0);
    td_heap_writer_fini(&again);
    td_heap_writer_fini(&sorted);
    td_heap_writer_fini(&twice);
    return 0;
}
