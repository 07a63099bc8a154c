/* format.c - see format.h. */
#include "format.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>

const char *format_bytes(char *text, uint64_t bytes)
{
    static const char *const units[] = {"kB", "MB", "GB", "TB", "PB", "EB"};
    double value = (double)bytes / 1000;
    int unit = 0;

    if (bytes < 1000) {
        snprintf(text, FORMAT_SIZE, "%" PRIu64 " B", bytes);
        return text;
    }
    while (value >= 999.95 && unit < 5) {
        value /= 1000;
        unit++;
    }
    snprintf(text, FORMAT_SIZE, "%.1f %s", value, units[unit]);
    return text;
}

const char *format_count(char *text, uint64_t n)
{
    char digits[24];
    int size = snprintf(digits, sizeof digits, "%" PRIu64, n), at = 0;

    for (int i = 0; i < size; i++) {
        if (i && (size - i) % 3 == 0)
            text[at++] = ',';
        text[at++] = digits[i];
    }
    text[at] = '\0';
    return text;
}

const char *format_duration(char *text, double seconds)
{
    uint64_t s = seconds > 0 && seconds < 1e12 ? (uint64_t)(seconds + 0.5) : 0;

    if (s < 3600)
        snprintf(text, FORMAT_SIZE, "%" PRIu64 ":%02" PRIu64, s / 60, s % 60);
    else
        snprintf(text, FORMAT_SIZE, "%" PRIu64 ":%02" PRIu64 ":%02" PRIu64, s / 3600, s / 60 % 60, s % 60);
    return text;
}

const char *format_time(char *text, int64_t unix_ms)
{
    time_t seconds = (time_t)(unix_ms / 1000);
    struct tm tm;

    if (unix_ms <= 0 || !localtime_r(&seconds, &tm) || !strftime(text, FORMAT_SIZE, "%Y-%m-%d %H:%M:%S", &tm))
        snprintf(text, FORMAT_SIZE, "-");
    return text;
}
