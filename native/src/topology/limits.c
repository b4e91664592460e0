#include "topology/limits.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { DEPTH_MAX = 64, GROUP_BYTES_MAX = 1024, MILLICPUS_MAX = 1000000000 };

/* Where one hierarchy is, and our group in it: "" the root, else "/a/b". */
typedef struct hierarchy {
    char root[TDI_PATH_BYTES_MAX];
    char group[GROUP_BYTES_MAX + 1];
} hierarchy;

/* Write the path without empty names and dots; one that leaves the namespace is the root. */
static void tidy(const char *path, char out[GROUP_BYTES_MAX + 1])
{
    size_t bytes = 0, names = 0;
    out[0] = '\0';
    if (strlen(path) > GROUP_BYTES_MAX)
        return;
    while (*path != '\0') {
        const size_t name = strcspn(path, "/");
        if (name == 2 && memcmp(path, "..", 2) == 0) {
            names = DEPTH_MAX + 1;
            break;
        }
        if (name > 0 && !(name == 1 && *path == '.')) {
            out[bytes++] = '/';
            memcpy(out + bytes, path, name);
            bytes += name;
            names++;
        }
        path += name + (path[name] == '/');
    }
    out[names > DEPTH_MAX ? 0 : bytes] = '\0';
}

/* One line, "4:cpu,cpuacct:/path", cut in place: 1 where it has `controller`, then *path. */
static int line_names(char *line, const char *controller, const char **path)
{
    char *controllers = strchr(line, ':');
    char *group = controllers != NULL ? strchr(controllers + 1, ':') : NULL;
    if (group == NULL || group[1] != '/')
        return 0;
    *path = group + 1;
    const size_t wanted = strlen(controller);
    for (const char *at = controllers + 1;; at++) {
        const size_t name = strcspn(at, ",:"); /* a colon ends the list at the latest */
        if (name == wanted && memcmp(at, controller, wanted) == 0)
            return 1;
        at += name;
        if (*at == ':')
            return 0;
    }
}

/* Find our group in the hierarchy of `controller`; "" is the unified one. */
static void find_group(tdi_sysfs *at, const char *proc, const char *controller, hierarchy *out)
{
    out->group[0] = '\0';
    if (proc == NULL || !tdi_sysfs_text(at, "%s/self/cgroup", proc))
        return;
    for (char *line = at->text, *next; line != NULL; line = next) {
        const char *path;
        next = strchr(line, '\n');
        if (next != NULL)
            *next++ = '\0';
        if (line_names(line, controller, &path)) {
            tidy(path, out->group);
            return;
        }
    }
}

/* Go one level up; 0 where the root was passed. */
static int go_up(hierarchy *at)
{
    char *slash = strrchr(at->group, '/');
    if (slash != NULL)
        *slash = '\0';
    return slash != NULL;
}

static void first_cpus(tdi_sysfs *at, hierarchy level, const char *first, const char *second,
                       td_cpu_set *out)
{
    do {
        const char *names[] = {first, second};
        for (int i = 0; i < 2 && names[i] != NULL; i++) {
            td_cpu_set found;
            if (tdi_sysfs_cpus(at, &found, NULL, "%s%s/%s", level.root, level.group, names[i]) &&
                td_cpu_set_next(&found, 0) < TD_CPUS_MAX) {
                *out = found;
                return;
            }
        }
    } while (go_up(&level));
}

static void lower(uint32_t *quota_millicpus, int64_t quota_us, int64_t period_us)
{
    if (quota_us <= 0 || quota_us > INT64_C(1000000000000000) || period_us <= 0 ||
        period_us > MILLICPUS_MAX)
        return;
    int64_t millicpus = quota_us * 1000 / period_us;
    millicpus = millicpus > 0 ? millicpus : 1;
    if (millicpus > MILLICPUS_MAX)
        return;
    if (*quota_millicpus == 0 || (uint32_t)millicpus < *quota_millicpus)
        *quota_millicpus = (uint32_t)millicpus;
}

/* One number of at most 18 digits; moves *at behind it. */
static int take_number(char **at, int64_t *out)
{
    const size_t digits = strspn(*at, "0123456789");
    if (digits == 0 || digits > 18)
        return 0;
    *out = strtoll(*at, at, 10);
    return 1;
}

/* "150000 100000"; "max 100000" and anything else bound nothing. */
static void lower_v2(tdi_sysfs *at, hierarchy level, uint32_t *quota_millicpus)
{
    do {
        int64_t quota_us, period_us;
        if (!tdi_sysfs_text(at, "%s%s/cpu.max", level.root, level.group))
            continue;
        char *text = tdi_sysfs_strip(at);
        if (!take_number(&text, &quota_us))
            continue;
        const size_t blanks = strspn(text, " \t");
        text += blanks;
        if (blanks > 0 && take_number(&text, &period_us) && *text == '\0')
            lower(quota_millicpus, quota_us, period_us);
    } while (go_up(&level));
}

static void lower_v1(tdi_sysfs *at, hierarchy level, uint32_t *quota_millicpus)
{
    do {
        int64_t quota_us, period_us;
        if (tdi_sysfs_number(at, &quota_us, "%s%s/cpu.cfs_quota_us", level.root, level.group) &&
            tdi_sysfs_number(at, &period_us, "%s%s/cpu.cfs_period_us", level.root, level.group))
            lower(quota_millicpus, quota_us, period_us);
    } while (go_up(&level));
}

static void set_root(hierarchy *at, const char *cgroup, const char *folder)
{
    snprintf(at->root, sizeof at->root, "%s%s", cgroup, folder);
}

void tdi_limits_read(tdi_sysfs *at, const char *proc, const char *cgroup, tdi_limits *out)
{
    hierarchy level;
    struct stat status;
    *out = (tdi_limits){.quota_millicpus = 0};
    if (strlen(cgroup) + sizeof "/unified" > sizeof level.root)
        return; /* no such path can be opened */
    set_root(&level, cgroup, "/unified");
    if (stat(level.root, &status) != 0 || !S_ISDIR(status.st_mode))
        set_root(&level, cgroup, "");
    find_group(at, proc, "", &level);
    first_cpus(at, level, "cpuset.cpus.effective", NULL, &out->cpus);
    lower_v2(at, level, &out->quota_millicpus);

    set_root(&level, cgroup, "/cpuset");
    find_group(at, proc, "cpuset", &level);
    if (td_cpu_set_next(&out->cpus, 0) == TD_CPUS_MAX)
        first_cpus(at, level, "cpuset.effective_cpus", "cpuset.cpus", &out->cpus);

    set_root(&level, cgroup, "/cpu");
    find_group(at, proc, "cpu", &level);
    lower_v1(at, level, &out->quota_millicpus);
}
