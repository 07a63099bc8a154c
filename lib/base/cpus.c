/* cpus.c - see cpus.h. https://docs.kernel.org/admin-guide/cgroup-v2.html ("cpu.max": "QUOTA PERIOD" in microseconds, or
 * "max PERIOD"). A container sees its own group as the root, a process outside of one finds its path in
 * /proc/self/cgroup; a parent's quota counts as well. */
#include "base/cpus.h"

#include "base/mem.h"

#include <limits.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool read_line(const char *dir, const char *name, char *line, int size)
{
    char *path = xasprintf("%s/%s", dir, name);
    FILE *f = fopen(path, "re");
    bool ok = f && fgets(line, size, f);

    if (f)
        fclose(f);
    free(path);
    return ok;
}

/* CPUs of a quota in a group's folder; INT_MAX: none is set. */
static int quota_of(const char *dir)
{
    char line[64];
    double quota = 0, period = 0;

    if (read_line(dir, "cpu.max", line, sizeof line)) {
        if (sscanf(line, "%lf %lf", &quota, &period) != 2)
            return INT_MAX; /* "max 100000" */
    } else {
        quota = read_line(dir, "cpu.cfs_quota_us", line, sizeof line) ? atof(line) : -1;
        period = read_line(dir, "cpu.cfs_period_us", line, sizeof line) ? atof(line) : 0;
    }
    if (!(quota > 0) || !(period > 0) || quota / period > INT_MAX - 1)
        return INT_MAX;
    int cpus = (int)(quota / period);
    return cpus < quota / period ? cpus + 1 : cpus;
}

/* The least quota from the group's folder up to the mount. */
static int quota_along(const char *mount, char *group)
{
    int least = INT_MAX;

    for (;;) {
        char *dir = xasprintf("%s%s", mount, group);
        int cpus = quota_of(dir);
        free(dir);
        least = cpus < least ? cpus : least;
        char *slash = strrchr(group, '/');
        if (!slash)
            return least;
        *slash = '\0';
    }
}

static bool names_cpu(const char *controllers)
{
    for (const char *at = strstr(controllers, "cpu"); at; at = strstr(at + 1, "cpu"))
        if ((at == controllers || at[-1] == ',') && (at[3] == ',' || !at[3]))
            return true;
    return false;
}

/* Lines of /proc/self/cgroup: "0::/path" (v2), "4:cpu,cpuacct:/path" (v1). */
static int quota(void)
{
    char line[PATH_MAX];
    int least = INT_MAX;
    FILE *f = fopen("/proc/self/cgroup", "re");

    while (f && fgets(line, sizeof line, f)) {
        char *controllers = strchr(line, ':'), *group = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!group)
            continue;
        controllers++;
        *group++ = '\0';
        group[strcspn(group, "\n")] = '\0';
        bool v2 = !*controllers;
        if (!v2 && !names_cpu(controllers))
            continue;
        int cpus = quota_along(v2 ? "/sys/fs/cgroup" : "/sys/fs/cgroup/cpu", group);
        least = cpus < least ? cpus : least;
    }
    if (f)
        fclose(f);
    return least;
}

int cpus_allowed(void)
{
    cpu_set_t set;
    int cpus = sched_getaffinity(0, sizeof set, &set) ? 1 : CPU_COUNT(&set), limit = quota();

    if (limit < cpus)
        cpus = limit;
    return cpus < 1 ? 1 : cpus;
}
