/* signature_fuzz.c - any text: refused with an offset inside it, or a signature whose parts fit. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "foreign/signature.h"

#define MUST(claim)                                                               \
    do {                                                                          \
        if (!(claim)) {                                                           \
            fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #claim); \
            abort();                                                              \
        }                                                                         \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

/* Postfix: never takes more than there is, and leaves one number. */
static void must_evaluate(const tdi_signature *signature, const tdi_size *size)
{
    size_t stack = 0;
    for (size_t i = 0; i < size->parts_total; i++) {
        const tdi_size_part *part = &size->parts[i];
        MUST(part->kind != TDI_SIZE_NUMBER || part->number >= 0);
        if (part->kind == TDI_SIZE_VALUE || part->kind == TDI_SIZE_LENGTH)
            MUST(part->argument < signature->arguments_total);
        if (part->kind == TDI_SIZE_OPERATOR) {
            MUST(stack >= 2);
            stack--;
        } else {
            stack++;
        }
    }
    MUST(stack == 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    tdi_signature signature;
    tdi_error error = {""};
    const td_status status = tdi_signature_parse((const char *)data, bytes, &signature, &error);
    if (status != TD_OK) {
        MUST(status == TD_ERR_ARGUMENT);
        char *end;
        MUST(strtoull(error.text, &end, 10) <= bytes && strncmp(end, ": ", 2) == 0);
        return 0;
    }
    MUST(signature.arguments_total <= TDI_ARGUMENTS_MAX);
    for (size_t i = 0; i < signature.arguments_total; i++) {
        const tdi_argument *argument = &signature.arguments[i];
        MUST(argument->name[0] != '\0' && strlen(argument->name) <= TDI_ARGUMENT_NAME_MAX);
        MUST((argument->type == TDI_BUF || argument->type == TDI_OUT) ==
             (tdi_type_bytes(argument->item) > 0));
        MUST((argument->type == TDI_OUT) == (argument->size.parts_total > 0));
        if (argument->type == TDI_OUT)
            must_evaluate(&signature, &argument->size);
    }
    char printed[8192];
    MUST(tdi_signature_print(&signature, printed, sizeof printed) < sizeof printed - 1);
    return 0;
}
