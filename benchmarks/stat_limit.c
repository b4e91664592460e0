/* stat_limit.c - the least that listing and statting a tree can take: the system calls alone.
 *
 *   stat_limit FOLDER ROUNDS
 *
 * Two threads take folders that were found before the clock started, read each with getdents64 and
 * ask statx for every regular file by its name in that folder. Nothing is kept, sorted or encoded.
 * Prints the files a second of each round, one a line.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define FOLDERS_MAX 200000

struct entry {
    uint64_t inode;
    int64_t next;
    uint16_t bytes;
    uint8_t type;
    char name[];
};

static char *folders[FOLDERS_MAX];
static int folders_total;
static _Atomic int folder_next;
static _Atomic long files;

static int note(const char *path, const struct stat *about, int kind, struct FTW *where)
{
    (void)about;
    (void)where;
    if (kind == FTW_D && folders_total < FOLDERS_MAX)
        folders[folders_total++] = strdup(path);
    return 0;
}

static void *work(void *unused)
{
    _Alignas(struct entry) char buffer[1 << 16];
    long mine = 0;
    for (int i; (i = atomic_fetch_add(&folder_next, 1)) < folders_total;) {
        const int folder = open(folders[i], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        for (long got; (got = syscall(SYS_getdents64, folder, buffer, sizeof buffer)) > 0;)
            for (long at = 0; at < got;) {
                const struct entry *entry = (const struct entry *)(buffer + at);
                struct statx about;
                at += entry->bytes;
                if (entry->type == DT_REG)
                    mine += statx(folder, entry->name, AT_SYMLINK_NOFOLLOW | AT_STATX_DONT_SYNC,
                                  STATX_SIZE | STATX_MTIME, &about) == 0;
            }
        close(folder);
    }
    files += mine;
    return unused;
}

static double now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

int main(int count, char **arguments)
{
    if (count != 3 || nftw(arguments[1], note, 64, FTW_PHYS) != 0)
        return 2;
    for (int round = atoi(arguments[2]); round > 0; round--) {
        pthread_t other;
        files = folder_next = 0;
        const double begun_s = now_s();
        if (pthread_create(&other, NULL, work, NULL) != 0)
            return 1;
        work(NULL);
        pthread_join(other, NULL);
        printf("%.0f\n", (double)files / (now_s() - begun_s));
    }
    return 0;
}
