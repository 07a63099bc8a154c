/* memory.c - see memory.h. */
#include "base/memory.h"

#include "base/cgroup.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* "max", or version 1's number near 2^63, is none. */
static double limit_of(const char *dir)
{
    char line[64];

    if (!cgroup_read(dir, "memory.max", line, sizeof line) &&
        !cgroup_read(dir, "memory.limit_in_bytes", line, sizeof line))
        return INFINITY;
    double bytes = atof(line);
    return bytes > 0 ? bytes : INFINITY;
}

int64_t memory_limit(void)
{
    double machine = (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE);

    return (int64_t)fmin(machine, cgroup_least("memory", limit_of));
}

int64_t memory_used(void)
{
    long long total = 0, resident = 0;
    FILE *f = fopen("/proc/self/statm", "re");

    if (f && fscanf(f, "%lld %lld", &total, &resident) != 2)
        resident = 0;
    if (f)
        fclose(f);
    return resident * sysconf(_SC_PAGESIZE);
}
