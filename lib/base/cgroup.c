/* cgroup.c - see cgroup.h. https://docs.kernel.org/admin-guide/cgroup-v2.html */
#include "base/cgroup.h"

#include "base/mem.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool cgroup_read(const char *dir, const char *name, char *line, int size)
{
    char *path = xasprintf("%s/%s", dir, name);
    FILE *f = fopen(path, "re");
    bool ok = f && fgets(line, size, f);

    if (f)
        fclose(f);
    free(path);
    return ok;
}

/* The least from the group's folder up to the mount. */
static double least_along(const char *mount, char *group, double (*limit)(const char *dir))
{
    double least = INFINITY;

    for (;;) {
        char *dir = xasprintf("%s%s", mount, group);
        least = fmin(least, limit(dir));
        free(dir);
        char *slash = strrchr(group, '/');
        if (!slash)
            return least;
        *slash = '\0';
    }
}

static bool names(const char *controllers, const char *wanted)
{
    size_t n = strlen(wanted);

    for (const char *at = strstr(controllers, wanted); at; at = strstr(at + 1, wanted))
        if ((at == controllers || at[-1] == ',') && (at[n] == ',' || !at[n]))
            return true;
    return false;
}

/* Lines of /proc/self/cgroup: "0::/path" (v2), "4:cpu,cpuacct:/path" (v1). */
double cgroup_least(const char *controller, double (*limit)(const char *dir))
{
    char line[PATH_MAX], mount[64];
    double least = INFINITY;
    FILE *f = fopen("/proc/self/cgroup", "re");

    snprintf(mount, sizeof mount, "/sys/fs/cgroup/%s", controller);
    while (f && fgets(line, sizeof line, f)) {
        char *controllers = strchr(line, ':'), *group = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!group)
            continue;
        controllers++;
        *group++ = '\0';
        group[strcspn(group, "\n")] = '\0';
        bool v2 = !*controllers;
        if (v2 || names(controllers, controller))
            least = fmin(least, least_along(v2 ? "/sys/fs/cgroup" : mount, group, limit));
    }
    if (f)
        fclose(f);
    return least;
}
