/* process.c - the standard process_* metrics from /proc/self, read when the page is rendered
 * (https://prometheus.io/docs/instrumenting/writing_clientlibs/#process-metrics). */
#include "metrics/registry.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static void add(struct buf *out, const char *type, const char *name, const char *help, double value)
{
    buf_printf(out, "# HELP process_%s %s\n# TYPE process_%s %s\nprocess_%s %.15g\n", name, help, name, type, name,
               value);
}

static double open_descriptors(void)
{
    DIR *d = opendir("/proc/self/fd");
    struct dirent *e;
    size_t n = 0;

    if (!d)
        return 0;
    while ((e = readdir(d)))
        n += e->d_name[0] != '.';
    closedir(d);
    return (double)(n - 1); /* without the one of this folder */
}

/* Seconds since 1970 when the machine started: "btime N" in /proc/stat. */
static double boot_time(void)
{
    FILE *f = fopen("/proc/stat", "re");
    char line[4096];
    double t = 0;

    while (f && !t && fgets(line, sizeof line, f))
        if (!strncmp(line, "btime ", 6))
            t = strtod(line + 6, NULL);
    if (f)
        fclose(f);
    return t;
}

/* The numbers of /proc/self/stat after the program's name, from field 3 on; see proc(5). */
static size_t read_stat(double *fields, size_t n)
{
    char text[2048];
    FILE *f = fopen("/proc/self/stat", "re");
    size_t size = f ? fread(text, 1, sizeof text - 1, f) : 0, i = 0;
    char *p;

    if (f)
        fclose(f);
    text[size] = '\0';
    p = strrchr(text, ')');
    p = p && p[1] ? p + 3 : NULL; /* past ") S" */
    for (char *end; p && *p && i + 1 < n; p = end) {
        double v = strtod(p + 1, &end);

        if (end == p + 1)
            break;
        fields[++i] = v;
    }
    return i;
}

void process_render(struct buf *out)
{
    enum { UTIME = 11, STIME = 12, N_THREADS = 17, START = 19, VSIZE = 20, RSS = 21, N_FIELDS };
    double stat[N_FIELDS + 1] = {0}, ticks = (double)sysconf(_SC_CLK_TCK);
    struct rlimit limit;

    if (read_stat(stat, N_FIELDS + 1) < RSS)
        return;
    add(out, "counter", "cpu_seconds_total", "User and system time.", (stat[UTIME] + stat[STIME]) / ticks);
    add(out, "gauge", "resident_memory_bytes", "Resident memory.", stat[RSS] * (double)sysconf(_SC_PAGESIZE));
    add(out, "gauge", "virtual_memory_bytes", "Address space in use.", stat[VSIZE]);
    add(out, "gauge", "start_time_seconds", "Start since 1970-01-01 UTC.", boot_time() + stat[START] / ticks);
    add(out, "gauge", "threads", "Threads.", stat[N_THREADS]);
    add(out, "gauge", "open_fds", "Open file descriptors.", open_descriptors());
    if (!getrlimit(RLIMIT_NOFILE, &limit))
        add(out, "gauge", "max_fds", "Limit of file descriptors.", (double)limit.rlim_cur);
}
