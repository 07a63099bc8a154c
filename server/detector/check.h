/* check.h - served_try() in a process of its own, for files that change while this one serves: a bad file may crash the
 * check and harms nobody, darknet finds no threads of ours, and the memory is given back whole. The process is this very
 * program, started as
 *
 *     PROGRAM --check NAME PATH ENGINE PRECISION
 *
 * which is not for people. */
#ifndef DETECTOR_CHECK_H
#define DETECTOR_CHECK_H

#include "served.h"

/* Runs such a process and waits for its end, any thread. A status of the check itself, or ST_INVALID when it dies or takes
 * longer than CHECK_SECONDS; ST_CANCELLED as soon as stop_fd can be read: the process is killed then. */
struct status check_run(struct served_check *out, const char *name, const struct served_config *config, int stop_fd);
#define CHECK_SECONDS 300

/* For the start of main(), before threads and settings: true when this process is such a check; it is over then, and
 * *exit_code is main()'s. */
bool check_main(int argc, char **argv, int *exit_code);

#endif
