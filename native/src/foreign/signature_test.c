/* signature_test.c - the golden table, read as Python reads it, and what the parser never touches.
 */
#include "foreign/signature.h"

#include <stdbool.h>
#include <stdlib.h>

#include "base/test.h"

static const char *golden_path;

/* "\t" and "\0" in the table stand for those bytes. */
static size_t unescape(char *text)
{
    char *to = text;
    for (const char *from = text; *from != '\0'; from++) {
        if (from[0] == '\\' && (from[1] == 't' || from[1] == '0'))
            *to++ = *++from == 't' ? '\t' : '\0';
        else
            *to++ = *from;
    }
    return (size_t)(to - text);
}

static void check_row(const char *verdict, char *text, const char *expected)
{
    tdi_signature signature;
    tdi_error error = {""};
    const size_t bytes = unescape(text);
    /* Exactly as long as the text, so that a sanitizer sees any look beyond it. */
    char *exact = malloc(bytes + 1);
    REQUIRE(exact != NULL);
    memcpy(exact, text, bytes);
    exact = realloc(exact, bytes > 0 ? bytes : 1);
    const td_status status = tdi_signature_parse(exact, bytes, &signature, &error);
    char printed[8192];
    if (status == TD_OK)
        CHECK_EQ(tdi_signature_print(&signature, printed, sizeof printed), strlen(printed));
    const char *said = status == TD_OK ? printed : error.text;
    if ((status == TD_OK) != (strcmp(verdict, "ok") == 0) || strcmp(said, expected) != 0) {
        tdi_test_failures++;
        fprintf(stderr, "'%.*s' is %s, '%s', expected %s, '%s'\n", (int)bytes, exact,
                tdi_status_name(status), said, verdict, expected);
    }
    free(exact);
}

static void golden_table(void)
{
    FILE *file = fopen(golden_path, "r");
    REQUIRE(file != NULL);
    char line[8192];
    int rows = 0;
    while (fgets(line, sizeof line, file) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        if (line[0] == '#')
            continue;
        char *text = strchr(line, '\t');
        char *expected = text != NULL ? strchr(text + 1, '\t') : NULL;
        if (expected == NULL) {
            CHECK(expected != NULL);
            break;
        }
        *text++ = '\0';
        *expected++ = '\0';
        check_row(line, text, expected);
        rows++;
    }
    fclose(file);
    CHECK(rows >= 80);
}

static void printing_is_cut_at_the_end_of_the_storage(void)
{
    static const char text[] = "void(i32 n, out buf<f64>[2*n] y)";
    tdi_signature signature;
    REQUIRE(tdi_signature_parse(text, sizeof text - 1, &signature, NULL) == TD_OK);
    char whole[64], cut[64];
    const size_t bytes = tdi_signature_print(&signature, whole, sizeof whole);
    for (size_t room = 1; room <= bytes; room++) {
        memset(cut, 'x', sizeof cut);
        CHECK_EQ(tdi_signature_print(&signature, cut, room), room - 1);
        CHECK(memcmp(cut, whole, room - 1) == 0 && cut[room - 1] == '\0' && cut[room] == 'x');
    }
}

int main(int argc, char **argv)
{
    golden_path = argc > 1 ? argv[1] : "protocol/golden/signatures.tsv";
    RUN(golden_table);
    RUN(printing_is_cut_at_the_end_of_the_storage);
    return TEST_RESULT;
}
