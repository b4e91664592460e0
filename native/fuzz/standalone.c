/* standalone.c - run a fuzz target over files and folders with any compiler.
 *
 * Usage: NAME_corpus PATH... ; a folder means each file in it. The corpus in the tree is thereby a
 * regression test: what a fuzzer once found stays found.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

/* 1 when `path` could be read and did not abort. */
static int run_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL)
        return 0;
    int good = 0;
    uint8_t *data = NULL;
    if (fseek(file, 0, SEEK_END) != 0)
        goto out;
    const long bytes = ftell(file);
    if (bytes < 0 || fseek(file, 0, SEEK_SET) != 0)
        goto out;
    data = malloc(bytes > 0 ? (size_t)bytes : 1);
    if (data == NULL || fread(data, 1, (size_t)bytes, file) != (size_t)bytes)
        goto out;
    LLVMFuzzerTestOneInput(data, (size_t)bytes);
    good = 1;
out:
    free(data);
    fclose(file);
    return good;
}

/* Files run, or -1. */
static int run_path(const char *path)
{
    DIR *folder = opendir(path);
    if (folder == NULL)
        return run_file(path) ? 1 : -1;
    int files = 0;
    for (struct dirent *entry = readdir(folder); entry != NULL; entry = readdir(folder)) {
        if (entry->d_name[0] == '.')
            continue;
        char inside[4096];
        const int length = snprintf(inside, sizeof inside, "%s/%s", path, entry->d_name);
        if (length < 0 || (size_t)length >= sizeof inside || !run_file(inside)) {
            files = -1;
            break;
        }
        files++;
    }
    closedir(folder);
    return files;
}

int main(int argc, char **argv)
{
    int total = 0;
    for (int i = 1; i < argc; i++) {
        const int files = run_path(argv[i]);
        if (files < 0) {
            fprintf(stderr, "cannot run %s\n", argv[i]);
            return 1;
        }
        total += files;
    }
    printf("%d inputs\n", total);
    return total > 0 ? 0 : 1; /* an empty corpus proves nothing */
}
