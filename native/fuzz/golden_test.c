/* golden_test.c - the golden bodies and frames of protocol/golden, read by the C side.
 *
 * Usage: golden_test bodies.tsv frames.tsv ; columns as the first line of each file names them.
 */
#include <stdlib.h>

#include "base/test.h"
#include "dump.h"
#include "frame_dump.h"
#include "strict/strict.h"

enum { COLUMNS_MAX = 8, ROWS_MIN = 40 };

static const char *bodies_path, *frames_path;

/* Cut a line at its tabs; returns the number of columns. */
static int columns(char *line, char *out[COLUMNS_MAX])
{
    int count = 0;
    line[strcspn(line, "\n")] = '\0';
    while (line != NULL && count < COLUMNS_MAX) {
        out[count++] = line;
        line = strchr(line, '\t');
        if (line != NULL)
            *line++ = '\0';
    }
    return count;
}

static unsigned nibble(char digit)
{
    return digit <= '9' ? (unsigned)(digit - '0') : (unsigned)(digit - 'a') + 10;
}

/* The bytes of a hex text, in memory of exactly that size. */
static uint8_t *from_hex(const char *text, size_t *bytes)
{
    *bytes = strlen(text) / 2;
    uint8_t *data = malloc(*bytes > 0 ? *bytes : 1);
    for (size_t i = 0; data != NULL && i < *bytes; i++)
        data[i] = (uint8_t)(nibble(text[2 * i]) << 4 | nibble(text[2 * i + 1]));
    return data;
}

static int expect(const char *name, const char *what, const char *verdict, td_status status)
{
    if ((strcmp(verdict, "ok") == 0) == (status == TD_OK))
        return 1;
    fprintf(stderr, "golden %s: %s is %d, expected %s\n", name, what, status, verdict);
    return 0;
}

static int expect_text(const char *name, const char *found, const char *expected)
{
    if (strcmp(found, expected) == 0)
        return 1;
    fprintf(stderr, "golden %s:\n  reads    %s\n  expected %s\n", name, found, expected);
    return 0;
}

static int body_row(char *row[])
{
    size_t bytes, text_bytes = 0;
    char *text = NULL;
    uint8_t *data = from_hex(row[4], &bytes);
    FILE *out = open_memstream(&text, &text_bytes);
    int good = data != NULL && out != NULL;
    if (good) {
        good &= expect(row[0], "strict", row[1], td_strict_check(data, bytes));
        good &= expect(row[0], "canonical", row[2], td_canonical_check(data, bytes));
        good &= expect(row[0], "pair", row[3], td_strict_check_pair(data, bytes));
        td_reader reader = td_reader_of(data, bytes);
        if (td_strict_check(data, bytes) == TD_OK)
            dump_value(out, &reader);
    }
    if (out != NULL)
        fclose(out);
    good = good && expect_text(row[0], text, row[5]);
    free(text);
    free(data);
    return good;
}

static int frame_row(char *row[])
{
    size_t bytes, text_bytes = 0;
    char *text = NULL;
    uint8_t *data = from_hex(row[2], &bytes);
    FILE *out = open_memstream(&text, &text_bytes);
    int good = data != NULL && out != NULL;
    if (good) {
        tdi_frame frame;
        tdi_extension extension;
        const td_status status = frame_take(data, bytes, &frame, &extension);
        good &= expect(row[0], "verdict", row[1], status);
        if (status == TD_OK)
            dump_frame(out, data, &frame, &extension);
    }
    if (out != NULL)
        fclose(out);
    good = good && expect_text(row[0], text, row[3]);
    free(text);
    free(data);
    return good;
}

static void each_row(const char *path, int columns_wanted, int (*check)(char *row[]))
{
    FILE *file = fopen(path, "r");
    REQUIRE(file != NULL);
    char *line = NULL;
    size_t room = 0;
    int rows = 0;
    while (getline(&line, &room, file) > 0) {
        char *row[COLUMNS_MAX];
        if (rows++ == 0)
            continue; /* the names of the columns */
        CHECK_EQ(columns(line, row), columns_wanted);
        CHECK(check(row));
    }
    free(line);
    fclose(file);
    CHECK(rows > ROWS_MIN);
}

static void golden_bodies_mean_what_they_say(void)
{
    each_row(bodies_path, 7, body_row);
}

static void golden_frames_mean_what_they_say(void)
{
    each_row(frames_path, 5, frame_row);
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fputs("usage: golden_test bodies.tsv frames.tsv\n", stderr);
        return 2;
    }
    bodies_path = argv[1];
    frames_path = argv[2];
    RUN(golden_bodies_mean_what_they_say);
    RUN(golden_frames_mean_what_they_say);
    return TEST_RESULT;
}
