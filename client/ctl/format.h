/* format.h - quantities as people read them. text: FORMAT_SIZE bytes; returned. */
#ifndef CTL_FORMAT_H
#define CTL_FORMAT_H

#include <stdint.h>

#define FORMAT_SIZE 40

const char *format_bytes(char *text, uint64_t bytes);    /* "999 B", "12.3 MB" (powers of 1000) */
const char *format_count(char *text, uint64_t n);        /* "12,345" */
const char *format_duration(char *text, double seconds); /* "0:07", "12:34", "1:02:03" */
const char *format_time(char *text, int64_t unix_ms);    /* "2026-11-22 10:15:00", local; "-" for 0 */

#endif
