/* tree_test.h - a sysfs-like tree under the temporary folder, for our own tests. */
#ifndef TDI_TREE_TEST_H
#define TDI_TREE_TEST_H

#include <errno.h>
#include <ftw.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char tree[64]; /* where it is */

static inline void tree_make(void)
{
    strcpy(tree, "/tmp/td_tree_XXXXXX");
    if (mkdtemp(tree) == NULL) {
        perror("mkdtemp");
        exit(1);
    }
}

static inline int tree_remove_one(const char *path, const struct stat *status, int flag,
                                  struct FTW *at)
{
    (void)status, (void)flag, (void)at;
    return remove(path);
}

static inline void tree_remove(void)
{
    nftw(tree, tree_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* Write `bytes` of `text` as the file of that name, with its folders. */
static inline void tree_put_bytes(const char *text, size_t bytes, const char *name)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", tree, name);
    for (char *at = path + strlen(tree) + 1; (at = strchr(at, '/')) != NULL; at++) {
        *at = '\0';
        mkdir(path, 0700);
        *at = '/';
    }
    FILE *file = fopen(path, "we");
    if (file == NULL)
        return; /* a folder is in its place: also a case */
    fwrite(text, 1, bytes, file);
    fclose(file);
}

__attribute__((format(printf, 2, 3))) static inline void tree_put(const char *text,
                                                                  const char *format, ...)
{
    char name[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(name, sizeof name, format, arguments);
    va_end(arguments);
    tree_put_bytes(text, strlen(text), name);
}

#endif /* TDI_TREE_TEST_H */
