/* tasks.c - see tasks.h. RLIMIT_NPROC counts the threads of the user in all processes, as far as /proc shows them here. */
#include "base/tasks.h"

#include "base/cgroup.h"
#include "base/mem.h"

#include <ctype.h>
#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static double group_left(const char *dir)
{
    char most[64], now[64];

    if (!cgroup_read(dir, "pids.max", most, sizeof most) || !isdigit((unsigned char)*most) ||
        !cgroup_read(dir, "pids.current", now, sizeof now))
        return INFINITY;
    return fmax(0, atof(most) - atof(now));
}

/* The links of /proc/PID/task are the threads, and two. */
static int64_t threads_of_user(void)
{
    DIR *d = opendir("/proc");
    int64_t n = 0;

    for (struct dirent *e; d && (e = readdir(d));) {
        char *path = isdigit((unsigned char)e->d_name[0]) ? xasprintf("/proc/%s/task", e->d_name) : NULL;
        struct stat st;

        if (path && !stat(path, &st) && st.st_uid == geteuid() && st.st_nlink > 2)
            n += (int64_t)st.st_nlink - 2;
        free(path);
    }
    if (d)
        closedir(d);
    return n;
}

static double user_left(void)
{
    struct rlimit r;

    if (!geteuid() || getrlimit(RLIMIT_NPROC, &r) || r.rlim_cur == RLIM_INFINITY)
        return INFINITY;
    return fmax(0, (double)r.rlim_cur - (double)threads_of_user());
}

int64_t tasks_left(void)
{
    double left = fmin(user_left(), cgroup_least("pids", group_left));

    return isinf(left) ? INT64_MAX : (int64_t)left;
}

int64_t files_allow(int64_t n)
{
    struct rlimit r;

    if (getrlimit(RLIMIT_NOFILE, &r))
        return n;
    if (r.rlim_cur < (rlim_t)n) {
        r.rlim_cur = r.rlim_max < (rlim_t)n ? r.rlim_max : (rlim_t)n;
        if (setrlimit(RLIMIT_NOFILE, &r))
            getrlimit(RLIMIT_NOFILE, &r);
    }
    return r.rlim_cur > (rlim_t)INT64_MAX ? INT64_MAX : (int64_t)r.rlim_cur;
}
