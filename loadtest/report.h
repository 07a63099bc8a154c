/* report.h - the result of a run, for a person and for a program. */
#ifndef LOADTEST_REPORT_H
#define LOADTEST_REPORT_H

#include "load.h"

struct report {
    const struct load_config *config;
    const struct load_result *result;
    const char *url;
    const char *pictures_from;
    double cpu_seconds; /* that this program took for the run */
};

void report_print(const struct report *r);

/* One line of JSON, to the file or ("-") to standard output. */
struct status report_write(const struct report *r, const char *path);

#endif
